"""`amira-asr stream`: where the audio comes from, and how events are shown."""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32, decode_stream
from amira_asr.chunker import Buffer
from amira_asr.events import Final, Transcript
from amira_asr.microphone import record
from amira_asr.output import json_line

_READ_BYTES = 65536


def audio_source(source: str, stop: threading.Event, *, paced: bool) -> Iterator[Buffer]:
    """Yield the buffers of a file, of standard input ("-"), or of the microphone ("mic"), until `stop` is set.

    Raises:
        AmiraError: audio that cannot be decoded; no microphone.
    """
    if source == "mic":
        buffers: Iterator[Buffer] = record()
    elif source == "-":
        buffers = iter(lambda: os.read(sys.stdin.fileno(), _READ_BYTES), b"")  # what there is, without waiting for more
    else:
        decoded = decode_stream(source)
        buffers = _paced(decoded) if paced else decoded
    for buffer in buffers:
        if stop.is_set():
            return
        yield buffer


def _paced(buffers: Iterator[Float32]) -> Iterator[Float32]:
    """Give each buffer when its last sample would have been spoken."""
    began, samples = time.perf_counter(), 0
    for buffer in buffers:
        samples += len(buffer)
        time.sleep(max(0.0, began + samples / MODEL_SAMPLE_RATE - time.perf_counter()))
        yield buffer


class StreamView:
    """Shows events as they come: the current segment on a growing line, finished ones above it, or JSON lines.

    A context manager that leaves the terminal clean.
    """

    def __init__(self, *, as_json: bool) -> None:
        # Partials go to the terminal of standard error, so that a pipe gets the final text alone.
        self._console = Console(stderr=True)
        self._live: Live | None = None
        if self._console.is_terminal and not as_json:
            self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._as_json = as_json
        self._latencies: list[float] = []
        self._shown_words = 0

    def __enter__(self) -> StreamView:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the line."""
        if self._live is not None:
            self._live.stop()

    def show(self, event: Transcript) -> None:
        """Show one event."""
        final = isinstance(event, Final)
        self._latencies.append(event.latency_ms)
        if self._as_json:
            kind = {"type": "final" if final else "partial"}
            print(json_line(event, **kind), flush=True)
            return
        for segment in event.segments:
            self._print(segment.text)
            self._shown_words += len(segment.text.split())
        if not final and self._live is not None:
            current = " ".join(word.text for word in event.words[self._shown_words :])
            self._live.update(Text(last_words(current, self._console.width)), refresh=True)

    def _print(self, text: str) -> None:
        """Print one segment, for good; without endpointing that is the whole text, at the end."""
        if self._live is not None:
            self._live.update(Text(""), refresh=True)
        if text or not self._shown_words:
            print(text, flush=True)

    def statistics(self) -> str:
        """Return the latencies in one line."""
        if not self._latencies:
            return "no chunk was answered"
        ordered = sorted(self._latencies)
        p95 = ordered[round(0.95 * (len(ordered) - 1))]
        return (
            f"{len(ordered)} chunks, latency p50 {statistics.median(ordered):.0f} ms, p95 {p95:.0f} ms; "
            f"final {self._latencies[-1]:.0f} ms after the end of the audio"
        )


def last_words(text: str, width: int) -> str:
    """Return the end of a text that fits into one line."""
    return text if len(text) < width else "…" + text[-(width - 2) :]
