"""The asyncio client."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tenacity import AsyncRetrying
from tritonclient.grpc import InferRequestedOutput, InferResult

from amira_asr import protocol
from amira_asr.audio import MODEL_SAMPLE_RATE, Float32, load_audio
from amira_asr.buffers import Audio
from amira_asr.chunker import Buffer, SampleFormat
from amira_asr.endpoint import Endpoint, EndpointState
from amira_asr.endpoints import Endpoints
from amira_asr.errors import AmiraError, InvalidAudio, ServerError
from amira_asr.events import Final, Partial, ServerModel
from amira_asr.history import History
from amira_asr.options import NO_OPTIONS, DecodingOptions, Parameter
from amira_asr.retrying import for_calls, for_recordings, for_streams
from amira_asr.sequence import ServerSequence
from amira_asr.settings import Settings, load_settings
from amira_asr.speech import listens_locally, speech_probabilities
from amira_asr.split import split_at_silence
from amira_asr.stream import Retries, Stream
from amira_asr.timeline import append
from amira_asr.tracing import Span

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Recogniser:
    """A model on one of the servers."""

    endpoint: Endpoint
    form: protocol.ModelFormat


class AsyncAsrClient:
    """Talks to one server, or to several alike. Use it as an async context manager, for any number of streams at once.

    A call that fails for a reason that may pass is tried again, at once on another server when there is one. A server
    that fails again and again is left alone for a while; `endpoints` says how each is doing.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        """Prepare; nothing is sent yet. Call it inside a running event loop.

        Args:
            settings: None for those of `load_settings`.

        Raises:
            SettingsError: as `load_settings`.
        """
        self._settings = settings or load_settings()
        self._endpoints = Endpoints(self._settings)

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
        await self._endpoints.close()

    @property
    def endpoints(self) -> tuple[EndpointState, ...]:
        """How each server has done lately, in the order of the settings."""
        return self._endpoints.states

    async def is_ready(self) -> bool:
        """Whether a server and all its models are ready; False when there is none."""
        return await self._endpoints.any_ready()

    async def models(self) -> list[ServerModel]:
        """Return the recognisers of the server. Raises AmiraError."""

        async def once() -> list[ServerModel]:
            endpoint, found = await self._endpoints.choose(), []
            own = (self._settings.streaming_model_name, self._settings.batch_model_name)
            answer = await self._ask(endpoint, endpoint.triton.get_model_config(own[0], as_json=True))
            for name in protocol.read_recognisers(answer["config"]) or own:
                form = await self._find_format(endpoint, name)
                if form is not None:
                    metadata = await self._ask(endpoint, endpoint.triton.get_model_metadata(name, as_json=True))
                    version = metadata.get("versions", [""])[-1]
                    found.append(protocol.describe(name, version, form, ready=True))
            return found

        return await self._retrying()(once)

    async def model_config(self, name: str) -> dict[str, Any]:
        """Return the configuration of any model on a server, as the JSON form of ModelConfig. Raises AmiraError."""

        async def once() -> dict[str, Any]:
            endpoint = await self._endpoints.choose()
            answer = await self._ask(endpoint, endpoint.triton.get_model_config(name, as_json=True))
            config: dict[str, Any] = answer["config"]
            return config

        return await self._retrying()(once)

    async def stream(
        self,
        audio: Audio,
        *,
        sample_rate: int = MODEL_SAMPLE_RATE,
        sample_format: SampleFormat = "s16le",
        channels: int = 1,
        options: DecodingOptions = NO_OPTIONS,
    ) -> AsyncGenerator[Partial | Final, None]:
        """Recognise audio while it comes.

        When its server is lost (it ended, hangs, is out of reach, or dropped the stream since no audio came for too
        long), the stream goes on by itself in a new sequence, on another server when there is one: what was said since
        the last pause is sent again, and the events go on as if nothing had happened. Leaving the iterator early gives
        the stream's place on the server back.

        Args:
            audio: buffers of any length: bytes, or arrays of int16 or float samples. A plain iterable may block, as a
                microphone does; it runs in a thread of its own. `FINALIZE` among them ends a segment.
            sample_rate: of the buffers, Hz; any, it is resampled.
            sample_format: how to read bytes.
            channels: interleaved channels of the buffers.
            options: what the stream asks of the decoder.

        Yields:
            A `Partial` after every chunk of the model and one `Final` when the audio has ended. With endpointing,
            `segments` of an event are those that ended with it; `text` is always the whole text.

        Raises:
            AmiraError: its `partial` is what had been recognised. The stream has ended on the server, too.
        """
        settings = self._settings
        first = await self._find(settings.streaming_model_name)
        chunker = first.form.chunker(sample_rate=sample_rate, sample_format=sample_format, channels=channels)
        found = chain([first], repeat(None))

        async def open_sequence() -> ServerSequence:
            recogniser = next(found) or await self._find_again(first.form, settings.streaming_model_name, patient=True)
            sequence = ServerSequence(
                recogniser.endpoint,
                recogniser.form,
                options,
                timeout_secs=settings.inference_timeout_secs,
                headers=span.headers(),
            )
            span.opened(sequence.id, recogniser.endpoint.address)
            return sequence

        retries = Retries(
            opening=self._retrying,
            going_on=lambda losses: for_streams(self._endpoints, settings.resume_timeout_secs, losses),
            losses=settings.retry_attempts,
        )
        stream = Stream(open_sequence, retries, chunker, History(first.form.chunk_secs, settings.resume_audio_secs))
        with Span("amira.stream", model=first.form.name) as span:
            async with aclosing(stream.events(audio)) as events:
                async for event in events:
                    span.heard(event)
                    yield event

    async def transcribe(
        self,
        audio: str | Path | Buffer,
        *,
        sample_rate: int = MODEL_SAMPLE_RATE,
        sample_format: SampleFormat = "s16le",
        channels: int = 1,
        options: DecodingOptions = NO_OPTIONS,
    ) -> Final:
        """Recognise a whole recording; one longer than the server takes is split at silence and joined.

        Args:
            audio: path of any audio file, or samples.
            sample_rate: of samples, Hz; a file says it itself.
            sample_format: how to read bytes.
            channels: interleaved channels of samples.
            options: what to ask of the decoder.

        Raises:
            InvalidAudio: the file cannot be decoded, or there are no samples.
            AmiraError: the server could not do it; of a recording in pieces, `partial` is those before.
        """
        recogniser = await self._find(self._settings.batch_model_name)
        form = recogniser.form
        if isinstance(audio, (str, Path)):
            samples = await asyncio.to_thread(load_audio, audio, form.sample_rate)
        else:
            chunker = form.chunker(sample_rate=sample_rate, sample_format=sample_format, channels=channels)
            samples = await asyncio.to_thread(chunker.whole, audio)
        if not len(samples):
            raise InvalidAudio("the recording holds no samples")
        limit = form.max_audio_secs or len(samples) / form.sample_rate
        (_, piece), *rest = await split_at_silence(samples, form.sample_rate, limit, self._listen)
        whole = await self._transcribe_piece(piece, recogniser, options)
        for start, piece in rest:
            try:
                later = await self._transcribe_piece(piece, recogniser, options)
            except AmiraError as error:
                error.partial = whole
                raise
            whole = append(whole, start / form.sample_rate, later)
        return whole

    async def _listen(self, samples: Float32) -> Float32:
        """Return the probability of speech in each window of [samples], by the detector that the settings name."""
        if listens_locally(self._settings.vad):
            return await asyncio.to_thread(speech_probabilities, samples)

        async def once() -> Float32:
            endpoint = await self._endpoints.choose()
            asking = self._infer(endpoint, protocol.VAD_MODEL, samples, protocol.speech_outputs())
            return protocol.read_speech(await asking)

        return await self._retrying()(once)

    async def _transcribe_piece(self, samples: Float32, first: _Recogniser, options: DecodingOptions) -> Final:
        """Recognise [samples]; when the server is lost, on another one, or on the same once it is back."""
        settings, sent, loss = self._settings, 1, None
        try:
            return await self._transcribe_once(samples, first, options)
        except AmiraError as error:
            loss = error

        async def again() -> Final:
            nonlocal sent, loss
            if loss is not None:  # it counts as the first try
                error, loss = loss, None
                raise error
            recogniser = await self._find_again(first.form, settings.batch_model_name, patient=True)
            sent += 1
            return await self._transcribe_once(samples, recogniser, options)

        attempts, seconds = settings.retry_attempts, settings.resume_timeout_secs
        return await for_recordings(self._endpoints, attempts, seconds, lambda: sent)(again)

    async def _transcribe_once(self, samples: Float32, recogniser: _Recogniser, options: DecodingOptions) -> Final:
        form = recogniser.form
        began = time.perf_counter()
        with Span("amira.transcribe", model=form.name) as span:
            asking = self._infer(
                recogniser.endpoint,
                form.name,
                samples,
                protocol.outputs(),
                parameters=options.parameters() | protocol.checksum(samples),
                headers=span.headers(),
            )
            final = protocol.read_transcript(await asking, form.frame_secs, (time.perf_counter() - began) * 1e3)
            if not isinstance(final, Final):
                raise ServerError(f"{form.name} answered with a transcript that is not final")
            span.heard(final)
        return final

    async def _find(self, name: str) -> _Recogniser:
        """Find a recogniser on a server. Raises AmiraError."""
        return await self._retrying()(self._look_up, name)

    async def _find_again(self, form: protocol.ModelFormat, name: str, *, patient: bool = False) -> _Recogniser:
        """Find a recogniser like that on a server that answers, in one try. Raises AmiraError."""
        found = await self._look_up(name, patient=patient)
        if found.form != form:
            raise ServerError(f"{name} on {found.endpoint.address} has changed: begin the stream anew")
        return found

    async def _look_up(self, name: str, *, patient: bool = False) -> _Recogniser:
        endpoint = await self._endpoints.choose(patient=patient)
        return _Recogniser(endpoint, await self._find_recogniser(endpoint, name))

    async def _find_recogniser(self, endpoint: Endpoint, name: str) -> protocol.ModelFormat:
        form = await self._find_format(endpoint, name)
        if form is None:
            raise ServerError(f"model {name!r} on {endpoint.address} is not a recogniser of this kind")
        return form if form.successor is None else await self._find_recogniser(endpoint, form.successor)

    async def _find_format(self, endpoint: Endpoint, name: str) -> protocol.ModelFormat | None:
        answer = await self._ask(endpoint, endpoint.triton.get_model_config(name, as_json=True))
        return protocol.read_format(answer["config"])

    async def _infer(
        self,
        endpoint: Endpoint,
        model: str,
        samples: Float32,
        outputs: list[InferRequestedOutput],
        *,
        parameters: dict[str, Parameter] | None = None,
        headers: dict[str, str] | None = None,
    ) -> InferResult:
        """Send one request with [samples]."""
        seconds = self._settings.inference_timeout_secs
        placed = await endpoint.place(samples, seconds)
        answered = False
        try:
            call = endpoint.triton.infer(
                model,
                placed.inputs,
                outputs=outputs,
                parameters=parameters,
                client_timeout=seconds,
                request_id=str(uuid.uuid4()),
                headers=headers,
            )
            result = await self._ask(endpoint, call)
            answered = True
        finally:
            placed.free(answered=answered)
        return result

    async def _ask(self, endpoint: Endpoint, call: Awaitable[_T]) -> _T:
        return await endpoint.call(call, self._settings.inference_timeout_secs)

    def _retrying(self) -> AsyncRetrying:
        return for_calls(self._endpoints, self._settings.retry_attempts)
