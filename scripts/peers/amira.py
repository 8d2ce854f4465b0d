"""Our server as one of the compared."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from tritonclient import grpc

from loadtest.closed_loop import LoadResult, run_streams
from log_mel.mel import Float32
from scripts.evaluation.served import processor_secs
from scripts.peers.system import Run
from scripts.serving.server import TritonServer

# Whole recordings in flight; as many as a batch of `asr_batch` takes.
_IN_FLIGHT = 8


@dataclass(frozen=True)
class Amira:
    """A running server.

    Attributes:
        name: in the table.
        server: serves one recogniser.
        chunk_samples: of its streams.
    """

    name: str
    server: TritonServer
    chunk_samples: int

    def full_speed(self, waveforms: Sequence[Float32]) -> Run:
        """As `System.full_speed`."""
        return self._stream(waveforms, 0.0)

    def paced(self, waveforms: Sequence[Float32]) -> Run:
        """As `System.paced`."""
        return self._stream(waveforms, self.chunk_samples / 16000)

    def whole(self, waveforms: Sequence[Float32]) -> Run:
        """As `System.whole`, through `asr_batch`."""
        texts, latencies = [], []
        before, began = processor_secs(self.server.pid), time.perf_counter()
        with grpc.InferenceServerClient(self.server.grpc_endpoint) as client, ThreadPoolExecutor(_IN_FLIGHT) as pool:
            for text, milliseconds in pool.map(lambda audio: _recognise(client, audio), waveforms):
                texts.append(text)
                latencies.append(milliseconds)
        wall = time.perf_counter() - began
        return Run(processor_secs(self.server.pid) - before, wall, latencies, texts)

    def _stream(self, waveforms: Sequence[Float32], pace_secs: float) -> Run:
        before = processor_secs(self.server.pid)
        result: LoadResult = run_streams(
            self.server.grpc_endpoint, list(waveforms), self.chunk_samples, pace_secs=pace_secs
        )
        return Run(processor_secs(self.server.pid) - before, result.seconds, result.latencies_ms, result.texts)


def _recognise(client: grpc.InferenceServerClient, audio: Float32) -> tuple[str, float]:
    tensor = grpc.InferInput("AUDIO", [1, len(audio)], "FP32")
    tensor.set_data_from_numpy(np.ascontiguousarray(audio[None]))
    began = time.perf_counter()
    answer = client.infer("asr_batch", [tensor], outputs=[grpc.InferRequestedOutput("TRANSCRIPT")])
    return answer.as_numpy("TRANSCRIPT")[0, 0].decode(), (time.perf_counter() - began) * 1e3
