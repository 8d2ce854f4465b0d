"""A bare Triton client for tests: one call is one chunk, and nothing is hidden."""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import dataclass

import numpy as np
from tritonclient import grpc
from tritonclient.grpc import aio

CHUNK = 8960
OUTPUTS = ["TRANSCRIPT", "IS_FINAL", "TOKENS", "TOKEN_TEXTS", "TOKEN_TIMES", "TOKEN_LOG_PROBS", "AUDIO_PROCESSED"]


@dataclass(frozen=True)
class Response:
    """One response in plain Python."""

    text: str
    is_final: bool
    tokens: list[int]
    pieces: list[str]
    times: list[float]
    log_probs: list[float]
    audio_processed: float


def audio_input(audio) -> list[grpc.InferInput]:
    """The AUDIO tensor of one request."""
    tensor = grpc.InferInput("AUDIO", [1, len(audio)], "FP32")
    tensor.set_data_from_numpy(np.asarray(audio, np.float32)[None])
    return [tensor]


def read(result) -> Response:
    """Unpack all outputs."""
    values = {name: result.as_numpy(name)[0] for name in OUTPUTS}
    return Response(
        text=values["TRANSCRIPT"][0].decode(),
        is_final=bool(values["IS_FINAL"][0]),
        tokens=values["TOKENS"].tolist(),
        pieces=[piece.decode() for piece in values["TOKEN_TEXTS"]],
        times=values["TOKEN_TIMES"].tolist(),
        log_probs=values["TOKEN_LOG_PROBS"].tolist(),
        audio_processed=float(values["AUDIO_PROCESSED"][0]),
    )


def new_id() -> str:
    """A random correlation ID."""
    return str(uuid.uuid4())


def chunks_of(audio) -> list[np.ndarray]:
    """Cut a waveform into chunks as the contract wants them; the last one short, never empty."""
    return [audio[start : start + CHUNK] for start in range(0, len(audio), CHUNK)]


class Streams:
    """Blocking calls to `asr_streaming` and `asr_batch`, or those of another recogniser."""

    def __init__(self, endpoint: str, prefix: str = "", client_key: str = "") -> None:
        self.client = grpc.InferenceServerClient(endpoint)
        self._headers = {"x-amira-client": client_key} if client_key else None
        self._streaming, self._batch = f"{prefix}asr_streaming", f"{prefix}asr_batch"

    def send(self, sequence_id, audio, *, start=False, end=False, parameters=None, timeout=30.0) -> Response:
        """Send one chunk."""
        result = self.client.infer(
            self._streaming,
            audio_input(audio),
            sequence_id=sequence_id,
            sequence_start=start,
            sequence_end=end,
            parameters=parameters,
            client_timeout=timeout,
            headers=self._headers,
        )
        return read(result)

    def stream(self, audio, sequence_id=None) -> list[Response]:
        """Send a whole waveform; return the response to every chunk."""
        sequence_id = sequence_id or new_id()
        pieces = chunks_of(audio)
        last = len(pieces) - 1
        return [self.send(sequence_id, p, start=i == 0, end=i == last) for i, p in enumerate(pieces)]

    def batch(self, audio, *, timeout=60.0, request_id="") -> Response:
        """Recognise a whole waveform with `asr_batch`."""
        result = self.client.infer(
            self._batch, audio_input(audio), client_timeout=timeout, request_id=request_id, headers=self._headers
        )
        return read(result)


async def stream_interleaved(endpoint, waveforms, seed=0, max_pause_secs=0.02) -> list[list[Response]]:
    """Stream all waveforms at once, each with random pauses, in random order."""
    rng = random.Random(seed)
    client = aio.InferenceServerClient(endpoint)

    async def one(audio):
        sequence_id = new_id()
        pieces = chunks_of(audio)
        responses = []
        for index, piece in enumerate(pieces):
            await asyncio.sleep(rng.uniform(0, max_pause_secs))
            result = await client.infer(
                "asr_streaming",
                audio_input(piece),
                sequence_id=sequence_id,
                sequence_start=index == 0,
                sequence_end=index == len(pieces) - 1,
                client_timeout=60.0,
            )
            responses.append(read(result))
        return responses

    try:
        order = rng.sample(range(len(waveforms)), len(waveforms))
        tasks = {index: asyncio.ensure_future(one(waveforms[index])) for index in order}
        await asyncio.gather(*tasks.values())
        return [tasks[index].result() for index in range(len(waveforms))]
    finally:
        await client.close()
