"""The asyncio client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tritonclient import grpc
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from amira_asr import protocol
from amira_asr.audio import MODEL_SAMPLE_RATE, Float32, load_audio
from amira_asr.buffers import Audio
from amira_asr.chunker import Buffer, Chunker, SampleFormat
from amira_asr.errors import AmiraError, InvalidAudio, ServerError
from amira_asr.events import Final, Partial, ServerModel
from amira_asr.history import History
from amira_asr.options import NO_OPTIONS, DecodingOptions
from amira_asr.sequence import ServerSequence
from amira_asr.settings import Settings, load_settings
from amira_asr.speech import listens_locally, speech_probabilities
from amira_asr.split import split_at_silence
from amira_asr.stream import Stream
from amira_asr.timeline import append

# Keeps quiet streams alive on their way. A server that is not told otherwise hangs up on whoever pings more often than
# every 5 minutes, or while there is no call.
_KEEPALIVE = grpc.KeepAliveOptions(keepalive_time_ms=310_000, keepalive_timeout_ms=10_000)


class AsyncAsrClient:
    """Talks to one server. Use it as an async context manager, and for any number of streams at once."""

    def __init__(self, settings: Settings | None = None) -> None:
        """Prepare; nothing is sent yet. Call it inside a running event loop.

        Args:
            settings: None for those of `load_settings`.

        Raises:
            SettingsError: as `load_settings`.
        """
        self._settings = settings or load_settings()
        self._triton = aio.InferenceServerClient(self._settings.triton_endpoint, keepalive_options=_KEEPALIVE)

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
        audio: Audio,
        *,
        sample_rate: int = MODEL_SAMPLE_RATE,
        sample_format: SampleFormat = "s16le",
        channels: int = 1,
        options: DecodingOptions = NO_OPTIONS,
    ) -> AsyncGenerator[Partial | Final, None]:
        """Recognise audio while it comes.

        When the server loses the stream (it was restarted, or no audio came for too long), the stream goes on in a new
        sequence by itself. Leaving the iterator early gives the stream's place on the server back.

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
        form = await self._find_recogniser(self._settings.streaming_model_name)
        chunker = Chunker(
            form.chunk_samples,
            form.sample_rate,
            sample_rate=sample_rate,
            sample_format=sample_format,
            channels=channels,
        )

        async def find_again() -> None:
            nonlocal form
            form = await self._find_unchanged(form)

        stream = Stream(
            lambda: ServerSequence(self._triton, self._settings, form, options),
            find_again,
            chunker,
            History(form.chunk_secs),
            reconnect_secs=self._settings.inference_timeout_secs,
        )
        async with aclosing(stream.events(audio)) as events:
            async for event in events:
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
        form = await self._find_recogniser(self._settings.batch_model_name)
        if isinstance(audio, (str, Path)):
            samples = await asyncio.to_thread(load_audio, audio, form.sample_rate)
        else:
            chunker = Chunker(
                form.chunk_samples,
                form.sample_rate,
                sample_rate=sample_rate,
                sample_format=sample_format,
                channels=channels,
            )
            samples = np.concatenate([*chunker.push(audio), *chunker.finish()])
        if not len(samples):
            raise InvalidAudio("the recording holds no samples")
        limit = form.max_audio_secs or len(samples) / form.sample_rate
        (_, first), *rest = await split_at_silence(samples, form.sample_rate, limit, self._listen)
        whole = await self._transcribe_piece(first, form, options)
        for start, piece in rest:
            try:
                whole = append(whole, start / form.sample_rate, await self._transcribe_piece(piece, form, options))
            except AmiraError as error:
                error.partial = whole
                raise
        return whole

    async def _listen(self, samples: Float32) -> Float32:
        """Return the probability of speech in each window of [samples], by the detector that the settings name."""
        if listens_locally(self._settings.vad):
            return await asyncio.to_thread(speech_probabilities, samples)
        result = await self._ask(
            self._triton.infer(
                protocol.VAD_MODEL,
                protocol.inputs(samples),
                outputs=protocol.speech_outputs(),
                client_timeout=self._settings.inference_timeout_secs,
            )
        )
        return protocol.read_speech(result)

    async def _transcribe_piece(self, samples: Float32, form: protocol.ModelFormat, options: DecodingOptions) -> Final:
        began = time.perf_counter()
        result = await self._ask(
            self._triton.infer(
                form.name,
                protocol.inputs(samples),
                outputs=protocol.outputs(),
                parameters=options.parameters(),
                client_timeout=self._settings.inference_timeout_secs,
            )
        )
        final = protocol.read_transcript(result, form.frame_secs, (time.perf_counter() - began) * 1e3)
        if not isinstance(final, Final):
            raise ServerError(f"{form.name} answered with a transcript that is not final")
        return final

    async def _find_unchanged(self, form: protocol.ModelFormat) -> protocol.ModelFormat:
        """Return where to go on. Raises AmiraError when no server answers, or one with another kind of model."""
        name = self._settings.streaming_model_name
        found = await self._find_recogniser(name)
        if found != form:
            raise ServerError(f"{name} on {self._settings.triton_endpoint} has changed: begin the stream anew")
        return found

    async def _find_recogniser(self, name: str) -> protocol.ModelFormat:
        form = await self._find_format(name)
        if form is None:
            raise ServerError(f"model {name!r} on {self._settings.triton_endpoint} is not a recogniser of this kind")
        return form if form.successor is None else await self._find_recogniser(form.successor)

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
            raise protocol.too_late(self._settings.triton_endpoint, seconds) from error
