"""Many sequences over one gRPC stream, each sending its next chunk when its answer (or its time) has come."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tritonclient import grpc

from log_mel.mel import Float32


@dataclass
class LoadResult:
    """What one run measured.

    Attributes:
        latencies_ms: of every chunk, from sending to its response.
        final_ms: of the chunks with END alone.
        seconds: from the first chunk sent to the last response.
        texts: final transcript of every stream.
    """

    latencies_ms: list[float] = field(default_factory=list)
    final_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0
    texts: list[str] = field(default_factory=list)


@dataclass
class _Stream:
    chunks: list[grpc.InferInput]
    sequence_id: str
    next_index: int = 0
    sent_at: float = 0.0
    due_at: float = 0.0


def run_streams(
    endpoint: str, waveforms: list[Float32], chunk_samples: int, pace_secs: float = 0.0, model: str = "asr_streaming"
) -> LoadResult:
    """Stream all waveforms at once.

    Args:
        endpoint: host:port of Triton's gRPC service.
        waveforms: one per stream, [samples] float32.
        chunk_samples: samples of a chunk.
        pace_secs: a stream sends a chunk no earlier than this after its previous one; 0 sends as soon as answered.
        model: the streaming ensemble.

    Raises:
        RuntimeError: a stream got an error.
    """
    result = LoadResult()
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client = grpc.InferenceServerClient(endpoint)
    client.start_stream(lambda result, error: answers.put((result, error)))
    streams = [_Stream(_requests(audio, chunk_samples), str(uuid.uuid4())) for audio in waveforms]
    outputs = [grpc.InferRequestedOutput("TRANSCRIPT"), grpc.InferRequestedOutput("IS_FINAL")]

    def send(number: int) -> None:
        stream = streams[number]
        stream.sent_at = time.perf_counter()
        stream.due_at = (stream.due_at or stream.sent_at) + pace_secs
        client.async_stream_infer(
            model,
            [stream.chunks[stream.next_index]],
            request_id=str(number),
            outputs=outputs,
            sequence_id=stream.sequence_id,
            sequence_start=stream.next_index == 0,
            sequence_end=stream.next_index == len(stream.chunks) - 1,
        )
        stream.next_index += 1

    began = time.perf_counter()
    for number, stream in enumerate(streams):
        # Paced streams begin spread over one chunk, as people do; otherwise all chunks would arrive together.
        if pace_secs:
            stream.due_at = began + pace_secs * number / len(streams)
            _after(stream.due_at, send, number)
        else:
            send(number)
    running = len(streams)
    while running:
        answer, error = answers.get(timeout=120)
        if error is not None:
            client.stop_stream(cancel_requests=True)
            raise RuntimeError(f"a stream failed: {error}")
        number = int(answer.get_response().id)
        stream = streams[number]
        latency_ms = (time.perf_counter() - stream.sent_at) * 1e3
        result.latencies_ms.append(latency_ms)
        if stream.next_index == len(stream.chunks):
            running -= 1
            result.final_ms.append(latency_ms)
            result.texts.append(answer.as_numpy("TRANSCRIPT")[0, 0].decode())
        elif pace_secs:
            _after(stream.due_at, send, number)
        else:
            send(number)
    result.seconds = time.perf_counter() - began
    client.stop_stream()
    client.close()
    return result


def _requests(audio: Float32, chunk_samples: int) -> list[grpc.InferInput]:
    tensors = []
    for start in range(0, len(audio), chunk_samples):
        chunk = np.ascontiguousarray(audio[None, start : start + chunk_samples])
        tensor = grpc.InferInput("AUDIO", list(chunk.shape), "FP32")
        tensor.set_data_from_numpy(chunk)
        tensors.append(tensor)
    return tensors


def _after(due_at: float, send: Any, number: int) -> None:
    delay = due_at - time.perf_counter()
    if delay <= 0:
        send(number)
    else:
        timer = threading.Timer(delay, send, (number,))
        timer.daemon = True
        timer.start()
