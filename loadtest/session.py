"""One stream of a load test: chunks sent at the pace of speech, responses timed as they come.

Uses Triton's own client, so that what is measured is the server and not our client library.
"""

from __future__ import annotations

import queue
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient import grpc

Float32 = npt.NDArray[np.float32]

OUTPUTS = ["TRANSCRIPT", "AUDIO_PROCESSED"]


@dataclass
class StreamReport:
    """What one stream saw.

    Attributes:
        chunk_ms: from sending each chunk to its response.
        first_partial_ms: from sending the first chunk to the first response with text; None without text.
        final_ms: from sending END to its response; None after a hang-up.
        late_chunks: responses that came after the next chunk was due.
        audio_secs: audio sent.
        text: final transcript.
    """

    chunk_ms: list[float] = field(default_factory=list)
    first_partial_ms: float | None = None
    final_ms: float | None = None
    late_chunks: int = 0
    audio_secs: float = 0.0
    text: str = ""


class StreamFailed(Exception):
    """The server answered with an error, or not in time. The text names its kind."""


@dataclass(frozen=True)
class Recogniser:
    """The streaming model under test.

    Attributes:
        model: name of the ensemble.
        sample_rate: Hz.
        chunk_samples: samples of a chunk.
    """

    model: str
    sample_rate: int
    chunk_samples: int

    @staticmethod
    def of(client: grpc.InferenceServerClient, model: str) -> Recogniser:
        """Ask the server."""
        parameters = client.get_model_config(model).config.parameters
        values = {name: int(parameters[name].string_value) for name in ("sample_rate", "chunk_samples")}
        return Recogniser(model, **values)

    @property
    def chunk_secs(self) -> float:
        """Duration of a chunk."""
        return self.chunk_samples / self.sample_rate


def speak(
    client: grpc.InferenceServerClient,
    recogniser: Recogniser,
    audio: Float32,
    *,
    hang_up_after: int | None = None,
    timeout_secs: float = 10.0,
) -> StreamReport:
    """Stream a recording at the pace of speech.

    Args:
        client: connection of this stream alone.
        recogniser: what to ask.
        audio: [samples] float32.
        hang_up_after: leave without END after so many chunks, as a caller whose line breaks.
        timeout_secs: longest wait for a response.

    Raises:
        StreamFailed: an error, or no response in time.
    """
    size = recogniser.chunk_samples
    chunks = [audio[start : start + size] for start in range(0, max(1, len(audio)), size)]
    answers: queue.Queue[tuple[Any, Any, float]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error, time.perf_counter())))
    report, sent, sequence_id = StreamReport(), [], str(uuid.uuid4())
    began = time.perf_counter()
    try:
        for index, chunk in enumerate(chunks[:hang_up_after]):
            # A chunk can be sent when its last sample has been spoken.
            time.sleep(max(0.0, began + len(chunk) / recogniser.sample_rate + index * recogniser.chunk_secs - _now()))
            _take(answers, report, sent, recogniser)
            end = index == len(chunks) - 1
            sent.append(_now())
            client.async_stream_infer(
                recogniser.model,
                [_tensor(chunk)],
                outputs=[grpc.InferRequestedOutput(name) for name in OUTPUTS],
                sequence_id=sequence_id,
                sequence_start=index == 0,
                sequence_end=end,
            )
            report.audio_secs += len(chunk) / recogniser.sample_rate
        deadline = _now() + timeout_secs
        while len(report.chunk_ms) < len(sent):
            _take(answers, report, sent, recogniser, wait_secs=max(0.01, deadline - _now()))
    finally:
        client.stop_stream()  # not cancelled: Triton 2.51 may crash when a request is being freed at that moment
    if hang_up_after is None:
        report.final_ms = report.chunk_ms[-1]
    return report


def _take(
    answers: queue.Queue[tuple[Any, Any, float]],
    report: StreamReport,
    sent: list[float],
    recogniser: Recogniser,
    wait_secs: float = 0.0,
) -> None:
    """Note the responses that have come; with `wait_secs` wait for one."""
    while True:
        try:
            result, error, at = answers.get(timeout=wait_secs) if wait_secs else answers.get_nowait()
        except queue.Empty:
            if wait_secs:
                raise StreamFailed(f"no response within {wait_secs:.1f} s") from None
            return
        if error is not None:
            raise StreamFailed(str(error.message()))
        latency = (at - sent[len(report.chunk_ms)]) * 1e3
        report.late_chunks += latency > recogniser.chunk_secs * 1e3
        report.chunk_ms.append(latency)
        report.text = result.as_numpy("TRANSCRIPT")[0][0].decode()
        if report.text and report.first_partial_ms is None:
            report.first_partial_ms = (at - sent[0]) * 1e3
        if wait_secs:
            return


def _tensor(chunk: Float32) -> grpc.InferInput:
    tensor = grpc.InferInput("AUDIO", [1, len(chunk)], "FP32")
    tensor.set_data_from_numpy(np.ascontiguousarray(chunk[None], np.float32))
    return tensor


def _now() -> float:
    return time.perf_counter()
