"""OpenAI's `POST /v1/audio/transcriptions` and `GET /v1/models`, so that its clients work unchanged.

https://platform.openai.com/docs/api-reference/audio/createTranscription
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field
from sse_starlette import EventSourceResponse

from amira_asr import AmiraError, Final
from amira_asr.audio import MODEL_SAMPLE_RATE, Float32
from amira_asr.output import OutputFormat, cues, write
from amira_gateway.decode import batch_recogniser
from amira_gateway.gateway import Gateway, gateway_of
from amira_gateway.options import Options
from amira_gateway.recognisers import Recogniser
from amira_gateway.refusals import Refusal, refusal_of
from amira_gateway.transcripts import seconds
from amira_gateway.uploads import decoded_pieces, file_audio, name_of

router = APIRouter(tags=["openai"])

_UNDETERMINED = "und"  # ISO 639 for a language that is not known: the recognisers do not say theirs


class TranscriptionForm(Options):
    """Fields of the form; those of the decoder are our own."""

    file: Annotated[UploadFile, Field(description="the recording, a file of any audio format")]
    model: Annotated[str, Field(max_length=200, description="a name that /v1/models shows, or an alias")]
    language: Annotated[str | None, Field(max_length=35, description="returned as it is; the model decides")] = None
    prompt: Annotated[str | None, Field(max_length=100_000, description="accepted, and without effect")] = None
    response_format: Literal["json", "text", "verbose_json", "srt", "vtt"] = "json"
    temperature: Annotated[float, Field(ge=0, le=1, description="accepted, and without effect")] = 0
    stream: Annotated[bool, Field(description="events while it is recognised; with json or text only")] = False
    timestamp_granularities: Annotated[
        tuple[Literal["word", "segment"], ...],
        Field(alias="timestamp_granularities[]", description="of verbose_json"),
    ] = ("segment",)


class DurationUsage(BaseModel):
    """How much audio it was."""

    type: Literal["duration"] = "duration"
    seconds: float


class TranscriptionWord(BaseModel):
    """One word of verbose_json."""

    word: str
    start: float
    end: float


class TranscriptionSegment(BaseModel):
    """One segment of verbose_json: a subtitle's length of words."""

    id: int
    start: float
    end: float
    text: str


class Transcription(BaseModel):
    """Answer as json, and as verbose_json with the fields that are null otherwise."""

    text: str
    usage: DurationUsage
    task: Literal["transcribe"] | None = None
    language: str | None = None
    duration: float | None = None
    segments: list[TranscriptionSegment] | None = None
    words: list[TranscriptionWord] | None = None


class Model(BaseModel):
    """A recogniser, as OpenAI describes models."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "amira-asr"


class ModelList(BaseModel):
    """Answer to `GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[Model]


_TEXTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/x-subrip": {"schema": {"type": "string"}},
            "text/vtt": {"schema": {"type": "string"}},
            "text/event-stream": {"schema": {"type": "string"}},
        }
    }
}
_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}


@router.get("/v1/models", summary="The recognisers")
async def list_models(request: Request) -> ModelList:
    """Return the recognisers that are ready."""
    return ModelList(data=[Model(id=item.name) for item in await gateway_of(request).recognisers.all()])


@router.get("/v1/models/{model}", summary="One recogniser")
async def retrieve_model(request: Request, model: str) -> Model:
    """Return one, by its name or an alias."""
    return Model(id=(await gateway_of(request).recognisers.find(model)).name)


@router.post(
    "/v1/audio/transcriptions", response_model=Transcription, responses=_TEXTS, summary="Recognise a recording"
)
async def transcriptions(request: Request, form: Annotated[TranscriptionForm, Form()]) -> Response:
    """Recognise a recording, as OpenAI's clients ask for it."""
    gateway = gateway_of(request)
    if form.stream and form.response_format not in ("json", "text"):
        allowed = "json and text can be streamed"
        raise Refusal(400, "invalid_field", f"response_format is {form.response_format!r}; {allowed}", param="stream")
    recogniser = await gateway.recognisers.find(form.model)
    if form.stream:
        return await _streamed(gateway, recogniser, form)
    with gateway.admission.request():
        batch_recogniser(recogniser)
        audio = await file_audio(form.file, gateway.settings.gateway_max_audio_secs)
        final = await gateway.recognisers.client(recogniser).transcribe(audio, options=form.decoding())
    gateway.metrics.audio_secs.labels(recogniser.name, "batch").inc(final.audio_secs)
    if form.response_format in _TYPES:
        content = write(final, OutputFormat(form.response_format)) + "\n"
        return PlainTextResponse(content, media_type=_TYPES[form.response_format])
    duration = seconds(len(audio) / MODEL_SAMPLE_RATE)
    verbose = form.response_format == "verbose_json"
    body = _verbose(final, duration, form) if verbose else _brief(final, duration)
    return JSONResponse(body.model_dump(exclude_none=True))


def _brief(final: Final, duration: float) -> Transcription:
    return Transcription(text=final.text, usage=DurationUsage(seconds=duration))


def _verbose(final: Final, duration: float, form: TranscriptionForm) -> Transcription:
    body = _brief(final, duration)
    body.task, body.language, body.duration = "transcribe", form.language or _UNDETERMINED, duration
    if "segment" in form.timestamp_granularities:
        body.segments = [
            TranscriptionSegment(
                id=index,
                start=seconds(cue[0].start_secs),
                end=seconds(cue[-1].end_secs),
                text=" ".join(word.text for word in cue),
            )
            for index, cue in enumerate(cues(final.words))
        ]
    if "word" in form.timestamp_granularities:
        body.words = [
            TranscriptionWord(word=word.text, start=seconds(word.start_secs), end=seconds(word.end_secs))
            for word in final.words
        ]
    return body


async def _streamed(gateway: Gateway, recogniser: Recogniser, form: TranscriptionForm) -> EventSourceResponse:
    """Answer with events: the words as they become certain, then the whole text."""
    if recogniser.streaming is None:
        raise Refusal(404, "model_not_found", f"model {recogniser.name!r} takes recordings only", param="model")
    events = _events(gateway, recogniser, form)
    first = await anext(events)  # what is refused at once is refused with its status

    async def data() -> AsyncIterator[dict[str, str]]:
        async with aclosing(events):
            yield {"data": json.dumps(first, ensure_ascii=False)}
            try:
                async for event in events:
                    yield {"data": json.dumps(event, ensure_ascii=False)}
            except (AmiraError, Refusal) as error:
                body = {"type": "error", **refusal_of(error).body.model_dump(exclude_none=True)}
                yield {"data": json.dumps(body, ensure_ascii=False)}

    return EventSourceResponse(data())


async def _events(
    gateway: Gateway, recogniser: Recogniser, form: TranscriptionForm
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield OpenAI's events: new words that will not change, and the whole text at the end."""
    said = samples = 0

    def pieces() -> Iterator[Float32]:
        nonlocal samples
        for piece in decoded_pieces(form.file.file, name_of(form.file), gateway.settings.gateway_max_audio_secs):
            samples += len(piece)
            yield piece

    with gateway.admission.stream(recogniser.name):
        stream = gateway.recognisers.client(recogniser).stream(pieces(), options=form.decoding())
        async with aclosing(stream) as heard:
            async for event in heard:
                certain = len(event.words) if isinstance(event, Final) else event.stable_words
                new = " ".join(word.text for word in event.words[said:certain])
                if new:
                    yield {"type": "transcript.text.delta", "delta": f" {new}" if said else new}
                said = max(said, certain)
                if isinstance(event, Final):
                    gateway.metrics.audio_secs.labels(recogniser.name, "stream").inc(event.audio_secs)
                    usage = DurationUsage(seconds=seconds(samples / MODEL_SAMPLE_RATE)).model_dump()
                    yield {"type": "transcript.text.done", "text": event.text, "usage": usage}
