"""`amira-asr stream`: where the audio comes from, and how events are shown."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from amira_asr.audio import MODEL_SAMPLE_RATE, AudioError, Float32, PcmFormat, decode_stream
from amira_asr.chunker import Buffer
from amira_asr.events import Final, Transcript
from amira_asr.microphone import record


def audio_source(source: str, *, paced: bool, rate: int, channels: int, pcm_format: str) -> Iterator[Buffer]:
    """Return the buffers of a file, of standard input ("-"), or of the microphone ("mic").

    Raises:
        AudioError: an unknown PCM format; later, audio that cannot be decoded.
    """
    if source == "mic":
        return record()
    if source == "-":
        if pcm_format not in ("s16le", "f32le"):
            raise AudioError(f"--format is {pcm_format!r}; allowed: s16le, f32le")
        pcm = cast("PcmFormat", pcm_format)
        return decode_stream(sys.stdin.buffer, pcm=pcm, pcm_rate=rate, pcm_channels=channels)
    decoded = decode_stream(source)
    return _paced(decoded) if paced else decoded


def _paced(buffers: Iterator[Float32]) -> Iterator[Float32]:
    """Give each buffer when its last sample would have been spoken."""
    began, samples = time.perf_counter(), 0
    for buffer in buffers:
        samples += len(buffer)
        time.sleep(max(0.0, began + samples / MODEL_SAMPLE_RATE - time.perf_counter()))
        yield buffer


class StreamView:
    """Shows events as they come: one growing line, or JSON lines."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._live: Live | None = None
        self._latencies: list[float] = []
        self._final_ms = 0.0

    def show(self, event: Transcript) -> None:
        """Show one event."""
        final = isinstance(event, Final)
        self._latencies.append(event.latency_ms)
        self._final_ms = event.latency_ms
        if self._as_json:
            kind = {"type": "final" if final else "partial"}
            print(json.dumps({**kind, **dataclasses.asdict(event)}, ensure_ascii=False), flush=True)
            return
        if self._live is None:
            # Partials go to the terminal of standard error, so that a pipe gets the final text alone.
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(Text(event.text), refresh=True)
        if final:
            self._live.stop()
            print(event.text, flush=True)

    def statistics(self) -> str:
        """Return the latencies in one line."""
        if not self._latencies:
            return "no chunk was answered"
        ordered = sorted(self._latencies)
        p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
        return (
            f"{len(ordered)} chunks, latency p50 {statistics.median(ordered):.0f} ms, p95 {p95:.0f} ms; "
            f"final {self._final_ms:.0f} ms after the end of the audio"
        )
