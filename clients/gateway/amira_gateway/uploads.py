"""Recordings that callers send: raw samples, or files of any format."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32, decode_stream
from amira_asr.chunker import Chunker
from amira_asr.errors import InvalidAudio
from amira_gateway.refusals import Refusal

# How files begin whose content type says nothing. MP3 without a tag is not among them: raw samples may look like it.
_SIGNATURES = ((0, b"RIFF"), (0, b"fLaC"), (0, b"OggS"), (0, b"ID3"), (4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"))
# The form type is what curl says of any --data-binary.
_RAW_TYPES = {
    "",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "audio/l16",
    "audio/pcm",
    "audio/x-raw",
    "audio/raw",
}


def is_raw(content_type: str, head: bytes) -> bool:
    """Return whether a body is raw samples rather than a file, from its content type and its first bytes."""
    if content_type.partition(";")[0].strip().lower() not in _RAW_TYPES:
        return False
    return not any(head[start : start + len(mark)] == mark for start, mark in _SIGNATURES)


async def uploaded_audio(request: Request, sample_rate: int, max_secs: float) -> Float32:
    """Return the audio of a request, [samples] float32 at the model's rate.

    Args:
        request: multipart with a field `file`, or a body that is the recording.
        sample_rate: of raw samples, Hz.
        max_secs: longest recording.

    Raises:
        Refusal: no recording in it (400), or one that is too long (413).
        InvalidAudio: it cannot be decoded.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        form = await request.form()
        return await file_audio(form_file(form), max_secs)
    body = await request.body()
    if not body:
        raise Refusal(400, "no_audio", "the body is empty; it must be raw 16-bit samples, or an audio file")
    if is_raw(content_type, body[:12]):
        # In a thread, as decoding: streams must not wait for what takes a second.
        return await asyncio.to_thread(raw_audio, body, sample_rate, max_secs)
    return await decoded_audio(io.BytesIO(body), "the body", max_secs)


def form_file(form: FormData) -> UploadFile:
    """Return the recording in a form. Raises Refusal when there is none."""
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise Refusal(400, "no_audio", "the form has no file in its field 'file'", param="file")
    return file


async def file_audio(file: UploadFile, max_secs: float) -> Float32:
    """Decode an uploaded file to [samples] float32. Raises as `uploaded_audio`."""
    return await decoded_audio(file.file, name_of(file), max_secs)


def name_of(file: UploadFile) -> str:
    """Return what to call a file in messages."""
    return file.filename or "the file"


async def decoded_audio(file: BinaryIO, name: str, max_secs: float) -> Float32:
    """Decode an open file to [samples] float32, in a thread, no further than `max_secs`. Raises as `uploaded_audio`."""
    return await asyncio.to_thread(lambda: np.concatenate(list(decoded_pieces(file, name, max_secs))))


def decoded_pieces(file: BinaryIO, name: str, max_secs: float) -> Iterator[Float32]:
    """Decode an open file to [samples] float32 piece by piece, in constant memory. Raises as `uploaded_audio`."""
    samples = 0
    try:
        for piece in decode_stream(file):
            samples += len(piece)
            if samples > max_secs * MODEL_SAMPLE_RATE:
                raise _too_long(name, max_secs)
            yield piece
    except InvalidAudio as error:  # it names an open file by what Python calls it
        raise InvalidAudio(f"{name}: {str(error).partition(': ')[2]}") from error
    if not samples:
        raise InvalidAudio(f"{name}: the file holds no audio samples")


def raw_audio(data: bytes, sample_rate: int, max_secs: float) -> Float32:
    """Return 16-bit little-endian samples as [samples] float32 at the model's rate. Raises as `uploaded_audio`."""
    if len(data) % 2:
        raise InvalidAudio(f"the body has {len(data)} bytes; 16-bit samples have two bytes each")
    if len(data) // 2 > max_secs * sample_rate:
        raise _too_long("the body", max_secs)
    chunker = Chunker(MODEL_SAMPLE_RATE, MODEL_SAMPLE_RATE, sample_rate=sample_rate)
    return chunker.whole(data)


def _too_long(name: str, max_secs: float) -> Refusal:
    message = f"{name} is longer than {max_secs:g} s, the longest recording allowed (gateway_max_audio_secs)"
    return Refusal(413, "audio_too_long", message)
