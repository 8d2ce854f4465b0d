"""Any recording to mono float32 at the model's rate. FFmpeg, through PyAV, decodes, mixes down and resamples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
import av.audio.resampler
import numpy as np
import numpy.typing as npt

from amira_asr.errors import InvalidAudio

Float32 = npt.NDArray[np.float32]

MODEL_SAMPLE_RATE = 16000
# A recording at 1 Hz would grow to 16,000 times its size.
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1000, 768_000


def load_audio(path: str | Path, sample_rate: int = MODEL_SAMPLE_RATE) -> Float32:
    """Decode a whole file to [samples] float32 in [-1, 1], mono, at `sample_rate` Hz.

    WAV, FLAC, OGG/Opus, MP3, M4A and whatever else FFmpeg reads; any rate and number of channels.

    Raises:
        InvalidAudio: no such file, no audio in it, an impossible rate, or damaged beyond decoding; it names the file.
    """
    parts = list(decode_stream(path, sample_rate))
    if not parts:
        raise InvalidAudio(f"{path}: the file holds no audio samples")
    return np.concatenate(parts)


def decode_stream(source: str | Path | BinaryIO, sample_rate: int = MODEL_SAMPLE_RATE) -> Iterator[Float32]:
    """Decode a file piece by piece, in constant memory.

    Args:
        source: a path, or an open binary file.
        sample_rate: wanted rate, Hz.

    Yields:
        [samples] float32 arrays, mono.

    Raises:
        InvalidAudio: as `load_audio`.
    """
    named = isinstance(source, (str, Path))
    name = str(source) if named else str(getattr(source, "name", "the file"))
    if named and not Path(name).is_file():
        raise InvalidAudio(f"{name}: no such file")
    try:
        # What an open file says about other files, as a playlist does, is not followed: it may be anybody's upload.
        options = {} if named else {"protocol_whitelist": "none"}
        with av.open(name if named else source, mode="r", options=options) as container:
            if not container.streams.audio:
                raise InvalidAudio(f"{name}: the file has no audio track")
            rate = container.streams.audio[0].codec_context.sample_rate
            if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
                raise InvalidAudio(
                    f"{name}: the sample rate is {rate} Hz; allowed: {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}"
                )
            resampler = av.audio.resampler.AudioResampler(format="fltp", rate=sample_rate)
            for frame in container.decode(audio=0):
                for converted in resampler.resample(frame):
                    yield _mono(converted)
            for converted in resampler.resample(None):
                yield _mono(converted)
    except (av.FFmpegError, ValueError) as error:  # a ValueError is a format that changes inside the file
        raise InvalidAudio(f"{name}: cannot be decoded: {getattr(error, 'strerror', None) or error}") from error


def _mono(frame: av.AudioFrame) -> Float32:
    """Average the channels. FFmpeg's own mix of float samples adds them up, louder than each of them."""
    mixed: Float32 = frame.to_ndarray().mean(axis=0, dtype=np.float32)
    return mixed
