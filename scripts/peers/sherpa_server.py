"""sherpa-onnx's streaming server, the C++ program of its package, as one of the compared."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import sherpa_onnx
from websockets.asyncio.client import ClientConnection, connect

from log_mel.mel import Float32
from scripts.evaluation.served import processor_secs
from scripts.peers.sherpa_files import SherpaFiles
from scripts.peers.system import Run
from scripts.serving.ports import free_ports

PROGRAM = Path(sys.executable).with_name("sherpa-onnx-online-websocket-server")
_DONE = "Done!"
_START_SECS, _ANSWER_SECS = 60.0, 120.0


@dataclass
class SherpaServer:
    """The server; runs while its context lasts.

    Attributes:
        name: in the table.
        files: its model.
        folder: for its log.
    """

    name: str
    files: SherpaFiles
    folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _port: int = 0

    def __enter__(self) -> SherpaServer:
        """Start it and wait until it listens. Raises RuntimeError when it does not."""
        (self._port,) = free_ports(1, "127.0.0.1")
        files = self.files
        command = [
            str(PROGRAM),
            f"--port={self._port}",
            f"--tokens={files.tokens}",
            f"--encoder={files.encoder}",
            f"--decoder={files.decoder}",
            f"--joiner={files.joiner}",
            f"--max-batch-size={files.max_batch_size}",
            f"--num-work-threads={len(os.sched_getaffinity(0))}",
            "--num-threads=1",
            f"--end-tail-padding={files.tail_secs}",
            "--enable-endpoint=false",
            f"--log-file={self.folder / 'sherpa.log'}",
        ]
        with (self.folder / "sherpa.out").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder)
        deadline = time.monotonic() + _START_SECS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise RuntimeError(f"sherpa-onnx did not start\n{(self.folder / 'sherpa.out').read_text()[-2000:]}")
            time.sleep(0.1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def full_speed(self, waveforms: Sequence[Float32]) -> Run:
        """As `System.full_speed`."""
        return self._stream(waveforms, 0.0)

    def paced(self, waveforms: Sequence[Float32]) -> Run:
        """As `System.paced`."""
        return self._stream(waveforms, self.files.chunk_samples / 16000)

    def whole(self, waveforms: Sequence[Float32]) -> Run:
        """As `System.whole`: the library, all recordings given at once and decoded in batches, no server."""
        recogniser = sherpa_onnx.OnlineRecognizer.from_transducer(
            tokens=str(self.files.tokens),
            encoder=str(self.files.encoder),
            decoder=str(self.files.decoder),
            joiner=str(self.files.joiner),
            num_threads=1,
            decoding_method="greedy_search",
        )
        cpu, began = time.process_time(), time.perf_counter()
        streams, tail = [recogniser.create_stream() for _ in waveforms], _silence(round(self.files.tail_secs * 16000))
        for stream, audio in zip(streams, waveforms, strict=True):
            stream.accept_waveform(16000, np.concatenate([_silence(self.files.lead_samples), audio, tail]))
            stream.input_finished()
        while ready := [stream for stream in streams if recogniser.is_ready(stream)]:
            for first in range(0, len(ready), self.files.max_batch_size):
                recogniser.decode_streams(ready[first : first + self.files.max_batch_size])
        texts = [str(recogniser.get_result(stream)).strip() for stream in streams]
        return Run(time.process_time() - cpu, time.perf_counter() - began, [], texts)

    def _stream(self, waveforms: Sequence[Float32], pace_secs: float) -> Run:
        if self._process is None:
            raise RuntimeError("the server is not running")
        before = processor_secs(self._process.pid)
        wall, streams = asyncio.run(self._stream_all(waveforms, pace_secs))
        cpu = processor_secs(self._process.pid) - before
        return Run(cpu, wall, [ms for latencies, _ in streams for ms in latencies], [text for _, text in streams])

    async def _stream_all(
        self, waveforms: Sequence[Float32], pace_secs: float
    ) -> tuple[float, list[tuple[list[float], str]]]:
        lines = [
            await connect(f"ws://127.0.0.1:{self._port}", compression=None, max_size=None, ping_interval=None)
            for _ in waveforms
        ]
        began = time.perf_counter()
        try:
            speakers = (
                self._speak(line, audio, began + pace_secs * index / len(waveforms), pace_secs)
                for index, (line, audio) in enumerate(zip(lines, waveforms, strict=True))
            )
            results = await asyncio.wait_for(asyncio.gather(*speakers), _ANSWER_SECS)
            return time.perf_counter() - began, results
        finally:
            for line in lines:
                await line.close()

    async def _speak(
        self, line: ClientConnection, audio: Float32, due: float, pace_secs: float
    ) -> tuple[list[float], str]:
        """Send chunks, each when the last is answered and its time has come; return latencies and the text."""
        latencies: list[float] = []
        text, done, answered = "", False, 0
        size, lead = self.files.chunk_samples, self.files.lead_samples
        for start in range(0, len(audio), size):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            chunk = audio[start : start + size]
            sent_at = time.perf_counter()
            await line.send((chunk if start else np.concatenate([_silence(lead), chunk])).tobytes())
            if start + size >= len(audio):
                await line.send("Done")
            due += pace_secs
            if self.files.windows(lead + start + len(chunk)) == answered:
                continue  # the first chunk may be less than a window
            answer = await line.recv()
            if answer == _DONE:  # another thread of the server sends it, and may overtake the last result
                done, answer = True, await line.recv()
            text = json.loads(answer)["text"]
            latencies.append((time.perf_counter() - sent_at) * 1e3)
            answered += 1
        while not done:
            answer = await line.recv()
            done = answer == _DONE
            text = text if done else json.loads(answer)["text"]
        return latencies, text.strip()


def _silence(samples: int) -> Float32:
    return np.zeros(samples, np.float32)
