"""The asyncio client."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from grpc.aio import AioRpcError
from tritonclient import grpc
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from amira_asr import protocol
from amira_asr.audio import MODEL_SAMPLE_RATE, Float32, load_audio
from amira_asr.chunker import Buffer, Chunker, SampleFormat
from amira_asr.errors import AmiraError, DeadlineExceeded, InvalidAudio, SequenceLost, ServerError, ServerUnavailable
from amira_asr.events import Final, Partial, ServerModel, Transcript
from amira_asr.settings import Settings
from amira_asr.split import join, split_at_silence

# Proxies drop connections that are silent for a minute or so; a stream may be, between two words.
_KEEPALIVE = grpc.KeepAliveOptions(
    keepalive_time_ms=20_000, keepalive_timeout_ms=10_000, keepalive_permit_without_calls=True
)
_GOODBYE_SECS = 1.0


class AsyncAsrClient:
    """Talks to one server. Use it as an async context manager, and for any number of streams at once."""

    def __init__(self, settings: Settings | None = None) -> None:
        """Prepare; nothing is sent yet. Call it inside a running event loop."""
        self._settings = settings or Settings()
        self._triton = aio.InferenceServerClient(self._settings.triton_endpoint, keepalive_options=_KEEPALIVE)
        self._formats: dict[str, protocol.ModelFormat] = {}

    async def __aenter__(self) -> AsyncAsrClient:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection. Streams still open end with `ServerUnavailable`."""
        await self._triton.close()

    async def is_ready(self) -> bool:
        """Whether the server and all its models are ready; False when there is no server."""
        try:
            return bool(await self._triton.is_server_ready(client_timeout=self._settings.inference_timeout_secs))
        except InferenceServerException:
            return False

    async def models(self) -> list[ServerModel]:
        """Return the recognisers of the server. Raises AmiraError."""
        found = []
        index = await self._ask(self._triton.get_model_repository_index(as_json=True))
        for entry in index.get("models", []):
            name, version = entry["name"], entry.get("version", "")
            ready = entry.get("state") == "READY"
            if ready:
                form = await self._find_format(name)
                if form is not None:
                    found.append(protocol.describe(name, version, form, ready=ready))
        return found

    async def stream(
        self,
        audio: AsyncIterable[Buffer] | Iterable[Buffer],
        *,
        sample_rate: int = MODEL_SAMPLE_RATE,
        sample_format: SampleFormat = "s16le",
    ) -> AsyncIterator[Partial | Final]:
        """Recognise audio while it comes.

        Args:
            audio: buffers of any length, mono: bytes, or arrays of int16 or float samples. A plain iterable may block,
                as a microphone does; it runs in a thread.
            sample_rate: of the buffers, Hz; any, it is resampled.
            sample_format: how to read bytes.

        Yields:
            A `Partial` after every chunk of the model and one `Final` when the audio has ended.

        Raises:
            AmiraError: its `partial` is what had been recognised. The stream has ended on the server, too.
        """
        connection = await self.open_stream(sample_rate=sample_rate, sample_format=sample_format)
        try:
            async for buffer in _iterate(audio):
                for event in await connection.send(buffer):
                    yield event
            for event in await connection.finish():
                yield event
        finally:
            await connection.close()

    async def open_stream(
        self, *, sample_rate: int = MODEL_SAMPLE_RATE, sample_format: SampleFormat = "s16le"
    ) -> StreamConnection:
        """Return a stream to push audio into; `stream` is the comfortable form. Raises AmiraError."""
        form = await self._format(self._settings.streaming_model_name)
        chunker = Chunker(form.chunk_samples, form.sample_rate, sample_rate=sample_rate, sample_format=sample_format)
        return StreamConnection(self._triton, self._settings, form, chunker)

    async def transcribe(
        self, audio: str | Path | Buffer, *, sample_rate: int = MODEL_SAMPLE_RATE, sample_format: SampleFormat = "s16le"
    ) -> Final:
        """Recognise a whole recording; one longer than the server takes is split at silence and joined.

        Args:
            audio: path of any audio file, or samples, mono.
            sample_rate: of samples, Hz; a file says it itself.
            sample_format: how to read bytes.

        Raises:
            AudioError: the file cannot be decoded.
            AmiraError: the server could not do it.
        """
        form = await self._format(self._settings.batch_model_name)
        if isinstance(audio, (str, Path)):
            samples = await asyncio.to_thread(load_audio, audio, form.sample_rate)
        else:
            samples = _whole(audio, form, sample_rate, sample_format)
        if not len(samples):
            raise InvalidAudio("the recording holds no samples")
        limit = form.max_audio_secs or len(samples) / form.sample_rate
        pieces = await asyncio.to_thread(split_at_silence, samples, form.sample_rate, limit)
        finals = [(start / form.sample_rate, await self._transcribe_piece(piece, form)) for start, piece in pieces]
        return join(finals)

    async def _transcribe_piece(self, samples: Float32, form: protocol.ModelFormat) -> Final:
        began = time.perf_counter()
        result = await self._ask(
            self._triton.infer(
                self._settings.batch_model_name,
                protocol.inputs(samples),
                outputs=protocol.outputs(),
                client_timeout=self._settings.inference_timeout_secs,
            )
        )
        final = protocol.read_transcript(result, form.frame_secs, (time.perf_counter() - began) * 1e3)
        if not isinstance(final, Final):
            raise ServerError(f"{self._settings.batch_model_name} answered with a transcript that is not final")
        return final

    async def _format(self, name: str) -> protocol.ModelFormat:
        form = self._formats.get(name) or await self._find_format(name)
        if form is None:
            raise ServerError(f"model {name!r} on {self._settings.triton_endpoint} is not a recogniser of this kind")
        self._formats[name] = form
        return form

    async def _find_format(self, name: str) -> protocol.ModelFormat | None:
        answer = await self._ask(self._triton.get_model_config(name, as_json=True))
        return protocol.read_format(answer["config"])

    async def _ask(self, call: Any) -> Any:
        """Await one call to the server within the deadline; raise our errors."""
        seconds = self._settings.inference_timeout_secs
        try:
            return await asyncio.wait_for(call, seconds)
        except InferenceServerException as error:
            raise protocol.to_error(error, self._settings.triton_endpoint) from error
        except asyncio.TimeoutError as error:
            raise _too_late(self._settings, None) from error


class StreamConnection:
    """One stream: a sequence on the server over a gRPC stream of its own, so that proxies keep it on one server."""

    def __init__(
        self,
        triton: aio.InferenceServerClient,
        settings: Settings,
        form: protocol.ModelFormat,
        chunker: Chunker,
    ) -> None:
        self._settings = settings
        self._format = form
        self._chunker = chunker
        self._sequence_id = str(uuid.uuid4())  # never a counter: two clients would collide
        self._requests: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._responses = triton.stream_infer(self._outgoing())
        self._started = False
        self._ended = False
        self._latest: Transcript | None = None

    async def send(self, buffer: Buffer) -> list[Partial | Final]:
        """Take audio; return an event for every chunk that it completed. Raises AmiraError."""
        return [await self._exchange(chunk, end=False) for chunk in self._chunker.push(buffer)]

    async def finish(self) -> list[Partial | Final]:
        """End the stream; return the events of what was left, the last one a `Final`. Raises AmiraError."""
        *chunks, last = self._chunker.finish()
        events = [await self._exchange(chunk, end=False) for chunk in chunks]
        return [*events, await self._exchange(last, end=True)]

    async def close(self) -> None:
        """Give the stream's place on the server back, if it still holds one, and hang up."""
        if self._started and not self._ended:
            with contextlib.suppress(AmiraError, asyncio.CancelledError):
                await self._exchange(np.zeros(0, np.float32), end=True, timeout_secs=_GOODBYE_SECS)
        self._ended = True
        await self._requests.put(None)
        self._responses.cancel()

    async def _exchange(self, chunk: Float32, *, end: bool, timeout_secs: float | None = None) -> Partial | Final:
        """Send one chunk and wait for its response."""
        if self._ended:
            raise SequenceLost("this stream has ended; open a new one", self._latest)
        sent = time.perf_counter()
        await self._requests.put(
            {
                "model_name": self._settings.streaming_model_name,
                "inputs": protocol.inputs(chunk),
                "outputs": protocol.outputs(),
                "sequence_id": self._sequence_id,
                "sequence_start": not self._started,
                "sequence_end": end,
            }
        )
        self._started, self._ended = True, end
        try:
            result = await self._response(timeout_secs or self._settings.inference_timeout_secs)
        except (ServerUnavailable, DeadlineExceeded, SequenceLost):
            self._ended = True
            raise
        except AmiraError as error:
            if not end:
                error.partial = await self._collect() or self._latest
            raise
        event = protocol.read_transcript(result, self._format.frame_secs, (time.perf_counter() - sent) * 1e3)
        self._latest = event
        return event

    async def _response(self, timeout_secs: float) -> grpc.InferResult:
        endpoint = self._settings.triton_endpoint
        try:
            result, error = await asyncio.wait_for(anext(self._responses), timeout_secs)
        except asyncio.TimeoutError as late:
            raise _too_late(self._settings, self._latest) from late
        except StopAsyncIteration as closed:
            raise ServerUnavailable(f"{endpoint} closed the stream", self._latest) from closed
        except InferenceServerException as broken:
            raise protocol.to_error(broken, endpoint, self._latest) from broken
        except AioRpcError as broken:  # tritonclient lets it through when the connection breaks
            reason = InferenceServerException(broken.details(), status=str(broken.code()))
            raise protocol.to_error(reason, endpoint, self._latest) from broken
        if error is not None:
            raise protocol.to_error(error, endpoint, self._latest) from error
        return result

    async def _collect(self) -> Transcript | None:
        """After an error the sequence accepts only END, whose response has what was recognised before."""
        with contextlib.suppress(AmiraError):
            return await self._exchange(np.zeros(0, np.float32), end=True, timeout_secs=_GOODBYE_SECS)
        return None

    async def _outgoing(self) -> AsyncIterator[dict[str, Any]]:
        while (request := await self._requests.get()) is not None:
            yield request


def _too_late(settings: Settings, partial: Transcript | None) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"{settings.triton_endpoint} did not answer within {settings.inference_timeout_secs:g} s; "
        "raise inference_timeout_secs, or look at the load of the server",
        partial,
    )


def _whole(audio: Buffer, form: protocol.ModelFormat, sample_rate: int, sample_format: SampleFormat) -> Float32:
    chunker = Chunker(form.chunk_samples, form.sample_rate, sample_rate=sample_rate, sample_format=sample_format)
    return np.concatenate([*chunker.push(audio), *chunker.finish()])


async def _iterate(audio: AsyncIterable[Buffer] | Iterable[Buffer]) -> AsyncIterator[Buffer]:
    if isinstance(audio, AsyncIterable):
        async for buffer in audio:
            yield buffer
        return
    iterator = iter(audio)
    finished = object()
    while (buffer_or_end := await asyncio.to_thread(next, iterator, finished)) is not finished:
        yield buffer_or_end  # type: ignore[misc]
