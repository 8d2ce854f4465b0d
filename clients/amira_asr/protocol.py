"""The only file that knows Triton: tensors in and out, model parameters, and what its errors mean."""

from __future__ import annotations

import itertools
import re
import zlib
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from grpc.aio import AioRpcError
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from amira_asr.audio import Float32
from amira_asr.chunker import Chunker, SampleFormat
from amira_asr.errors import (
    AmiraError,
    AudioDamaged,
    DeadlineExceeded,
    InvalidAudio,
    InvalidRequest,
    RateLimited,
    SequenceLost,
    ServerError,
    ServerFull,
    ServerStopping,
    ServerUnavailable,
)
from amira_asr.events import Alternative, Final, Partial, Segment, ServerModel, Token, stable_words_of, words_of
from amira_asr.options import DecodingOptions, Parameter

VAD_MODEL = "vad"
_SPEECH = "SPEECH_PROBABILITY"
_OUTPUTS = [
    "IS_FINAL",
    "TOKENS",
    "TOKEN_TEXTS",
    "TOKEN_TIMES",
    "TOKEN_CONFIDENCES",
    "STABLE_TOKENS",
    "SEGMENT_ENDS",
    "ENDPOINTS",
    "N_BEST",
    "N_BEST_SCORES",
    "AUDIO_PROCESSED",
]
# "Internal error from Core" is what gRPC for Python says when a connection breaks while it writes. "Stream removed" is
# what it says of every stream of a connection whose bytes make no sense, or that breaks at once. The last one is what
# Triton says after a restart.
_BROKEN = (
    "(?i)UNAVAILABLE|CANCELLED|failed to connect|Socket closed|Connection reset|Internal error from Core|"
    "is not healthy|Stream removed|RST_STREAM|GOAWAY|HTTP/2|deserializing|parsing request proto|"
    "Unable to find shared memory"
)
# What a caller chooses, as errors name it at their start: options, how many, and for how long. All else in a request is
# this library's own.
_OPTIONS = "|".join(option.name for option in fields(DecodingOptions))
_CHOSEN = (
    rf"(unknown )?(parameter )?'?({_OPTIONS})\b|request parameters have|x-amira-client is|(stream|the segment) has"
)
# What an error says, which exception that is, and its text; the first that fits counts. Patterns are searched for in
# gRPC's status and, after a colon, the message.
_MEANINGS: tuple[tuple[str, type[AmiraError], str], ...] = (
    (
        "DEADLINE_EXCEEDED.*:",
        DeadlineExceeded,
        "{endpoint} did not answer in time; raise inference_timeout_secs or retry",
    ),
    # The last one is Triton's own, of a queue that is full before our models see the request.
    ("server full|server overloaded|Exceeds maximum queue size", ServerFull, "{message}"),
    ("rate limited", RateLimited, "{message}"),
    # The latter are Triton's own while it ends: its models go before its ports.
    ("(?i)server is (stopping|shutting down)|has no available versions", ServerStopping, "{message}"),
    (
        "protocol is restricted.*amira-api-key",
        InvalidRequest,
        "{endpoint} takes only calls with its API key, and AMIRA_API_KEY or AMIRA_API_KEY_FILE is not that ({message})",
    ),
    (
        "protocol is restricted",
        InvalidRequest,
        "{endpoint} does not take that ({message}); AMIRA_OPEN_INTERFACES of the server opens it",
    ),
    ("is not live here|failed earlier|must specify the START flag", SequenceLost, "{message} (start a new stream)"),
    (_BROKEN, ServerUnavailable, "no server at {endpoint}: start it, or check the endpoint and AMIRA_TLS ({message})"),
    ("unknown model: .* is not found", ServerError, "{message} at {endpoint}: `amira-asr models` lists what it has"),
    ("arrived damaged", AudioDamaged, "{message}"),
    (r"^[^:]*: AUDIO(\[\d| has a peak| has \d+ samples; allowed)", InvalidAudio, "{message}"),
    (rf"^[^:]*: ({_CHOSEN})", InvalidRequest, "{message}"),
)


@dataclass(frozen=True)
class ModelFormat:
    """What a recogniser says about itself in its model parameters.

    Attributes:
        sample_rate: Hz.
        chunk_samples: samples of a chunk.
        frame_secs: seconds of an encoder frame.
        max_audio_secs: longest whole recording; None for a streaming model.
        name: of the model that said it.
        successor: the model to begin with instead, while the server changes to another version.
    """

    sample_rate: int
    chunk_samples: int
    frame_secs: float
    max_audio_secs: float | None
    name: str = field(compare=False)
    successor: str | None = field(compare=False)

    @property
    def chunk_secs(self) -> float:
        """Duration of a chunk."""
        return self.chunk_samples / self.sample_rate

    def chunker(self, *, sample_rate: int, sample_format: SampleFormat, channels: int) -> Chunker:
        """Return what cuts buffers of that kind into chunks of the model. Raises InvalidAudio."""
        return Chunker(
            self.chunk_samples,
            self.sample_rate,
            sample_rate=sample_rate,
            sample_format=sample_format,
            channels=channels,
        )


def read_format(config: dict[str, Any]) -> ModelFormat | None:
    """Read a model's configuration (JSON form of ModelConfig); None when the model is not a recogniser."""
    values = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
    if not {"sample_rate", "chunk_samples", "frame_secs"} <= values.keys():
        return None
    return ModelFormat(
        sample_rate=int(values["sample_rate"]),
        chunk_samples=int(values["chunk_samples"]),
        frame_secs=float(values["frame_secs"]),
        max_audio_secs=float(values["max_audio_secs"]) if "max_audio_secs" in values else None,
        name=str(config["name"]),
        successor=values.get("successor"),
    )


def read_recognisers(config: dict[str, Any]) -> list[str]:
    """Return the names of all recognisers of the server, as any of them has them in its configuration."""
    values = config.get("parameters", {})
    return values["recognisers"]["string_value"].split(",") if "recognisers" in values else []


def describe(name: str, version: str, form: ModelFormat, *, ready: bool) -> ServerModel:
    """Return the public description of a recogniser."""
    return ServerModel(
        name=name,
        version=version,
        ready=ready,
        streaming=form.max_audio_secs is None,
        sample_rate=form.sample_rate,
        chunk_ms=form.chunk_secs * 1e3,
        max_audio_secs=form.max_audio_secs,
    )


def inputs(audio: Float32) -> list[grpc.InferInput]:
    """Return the input tensors of one request with [samples] of audio."""
    tensor = grpc.InferInput("AUDIO", [1, len(audio)], "FP32")
    tensor.set_data_from_numpy(np.ascontiguousarray(audio[None], np.float32))
    return [tensor]


def checksum(audio: Float32) -> dict[str, Parameter]:
    """Return the request parameter by which the server knows [samples] that were damaged on their way."""
    return {"audio_crc32": zlib.crc32(audio.astype(np.float32, copy=False).tobytes())}


def chunk_request(
    model: str, sequence_id: str, *, number: int, start: bool, end: bool, parameters: dict[str, Parameter]
) -> dict[str, Any]:
    """Return one request of a gRPC stream, as `stream_infer` takes it, but for its inputs.

    `number` tells it from the others of its stream in logs.
    """
    return {
        "request_id": f"{sequence_id}/{number}",
        "parameters": parameters,
        "model_name": model,
        "outputs": outputs(),
        "sequence_id": sequence_id,
        "sequence_start": start,
        "sequence_end": end,
    }


def speech_outputs() -> list[grpc.InferRequestedOutput]:
    """Return the outputs to ask the voice activity detector for."""
    return [grpc.InferRequestedOutput(_SPEECH)]


def read_speech(result: grpc.InferResult) -> Float32:
    """Return the probability of speech in each window, [windows]."""
    probabilities: Float32 = result.as_numpy(_SPEECH)[0]
    return probabilities


def outputs() -> list[grpc.InferRequestedOutput]:
    """Return the outputs to ask for."""
    return [grpc.InferRequestedOutput(name) for name in _OUTPUTS]


def read_transcript(result: grpc.InferResult, frame_secs: float, latency_ms: float) -> Partial | Final:
    """Turn a response into an event, about the segments that ended with it or the one that goes on."""
    values = {name: result.as_numpy(name)[0] for name in _OUTPUTS}
    tokens = tuple(
        Token(int(token), piece.decode(), float(time_secs), float(confidence))
        for token, piece, time_secs, confidence in zip(
            values["TOKENS"], values["TOKEN_TEXTS"], values["TOKEN_TIMES"], values["TOKEN_CONFIDENCES"], strict=True
        )
    )
    bounds = itertools.pairwise([0, *values["SEGMENT_ENDS"]])
    parts = [words_of(tokens[first:last], frame_secs) for first, last in bounds]
    words = tuple(itertools.chain(*parts)) if parts else words_of(tokens, frame_secs)
    audio_secs = float(values["AUDIO_PROCESSED"][0])
    segments = tuple(
        Segment(
            text=" ".join(word.text for word in part),
            start_secs=part[0].start_secs if part else audio_secs,
            end_secs=part[-1].end_secs if part else audio_secs,
            rule=rule.decode(),
        )
        for part, rule in zip(parts, values["ENDPOINTS"], strict=True)
    )
    alternatives = tuple(
        Alternative(text.decode(), float(score))
        for text, score in zip(values["N_BEST"], values["N_BEST_SCORES"], strict=True)
    )
    kind = Final if values["IS_FINAL"][0] else Partial
    return kind(
        text=" ".join(word.text for word in words),
        tokens=tokens,
        words=words,
        audio_secs=audio_secs,
        latency_ms=latency_ms,
        stable_words=len(words) if segments else stable_words_of(tokens, int(values["STABLE_TOKENS"][0])),
        segments=segments,
        alternatives=alternatives if len(alternatives) > 1 else (),
    )


def to_error(error: InferenceServerException | AioRpcError, endpoint: str) -> AmiraError:
    """Turn an error of Triton or gRPC into one of ours."""
    if isinstance(error, AioRpcError):  # tritonclient lets it through when the connection of a stream breaks
        status, message = str(error.code()), str(error.details())
    else:
        status, message = str(error.status() or ""), str(error.message())
    # In an ensemble Triton puts the failing step in front; ours is the rest.
    message = re.sub(r"^in ensemble '[^']*', ", "", message)
    for pattern, kind, text in _MEANINGS:
        if re.search(pattern, f"{status}: {message}"):
            return kind(text.format(endpoint=endpoint, message=message))
    return ServerError(message)


def too_late(endpoint: str, seconds: float) -> DeadlineExceeded:
    """Return the error for a response that did not come."""
    return DeadlineExceeded(
        f"{endpoint} did not answer within {seconds:g} s; "
        "raise inference_timeout_secs, or look at the load of the server"
    )
