"""`POST /v2/decode/batch/{model}`: the older server's way to recognise a recording."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from amira_asr.audio import MODEL_SAMPLE_RATE
from amira_gateway.gateway import gateway_of
from amira_gateway.options import BatchOptions
from amira_gateway.recognisers import Recogniser
from amira_gateway.refusals import Refusal
from amira_gateway.transcripts import (
    BatchBody,
    SegmentBody,
    WordBody,
    alternatives,
    confidence,
    seconds,
)
from amira_gateway.uploads import uploaded_audio

router = APIRouter(tags=["decode"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "required": True,
    "description": "Raw 16-bit little-endian samples, one channel; or an audio file of any format, as the body or in a "
    "form's field `file`.",
    "content": {
        "application/octet-stream": _BINARY,
        "audio/wav": _BINARY,
        "audio/flac": _BINARY,
        "audio/*": _BINARY,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        },
    },
}
_EXTRA: dict[str, Any] = {"requestBody": _BODY}


@router.post("/v2/decode/batch/{model}", openapi_extra=_EXTRA, summary="Recognise a recording")
async def decode_batch(request: Request, model: str, options: Annotated[BatchOptions, Query()]) -> BatchBody:
    """Recognise a whole recording. Longer than the model takes, it is split at silence and joined."""
    gateway = gateway_of(request)
    with gateway.admission.request():
        recogniser = batch_recogniser(await gateway.recognisers.find(model))
        audio = await uploaded_audio(request, options.sample_rate, gateway.settings.gateway_max_audio_secs)
        if not len(audio):
            raise Refusal(400, "no_audio", "the recording holds no samples")
        final = await gateway.recognisers.client(recogniser).transcribe(audio, options=options.decoding())
    gateway.metrics.audio_secs.labels(recogniser.name, "batch").inc(final.audio_secs)
    frames = recogniser.frames
    return BatchBody(
        text=final.text,
        tokens=[token.id for token in final.tokens],
        audio_length_samples=len(audio),
        features_length=None if frames is None else frames.features(len(audio)),
        encoded_length=None if frames is None else frames.encoded(len(audio)),
        confidence=confidence(final),
        audio_secs=seconds(len(audio) / MODEL_SAMPLE_RATE),
        words=[WordBody.of(word) for word in final.words],
        segments=[SegmentBody.of(segment) for segment in final.segments],
        alternatives=alternatives(final),
    )


def batch_recogniser(recogniser: Recogniser) -> Recogniser:
    """Return it. Raises Refusal when it takes streams only."""
    if recogniser.batch is None:
        raise Refusal(404, "model_not_found", f"model {recogniser.name!r} takes streams only", param="model")
    return recogniser
