"""Any recording to mono float32 at the model's rate. FFmpeg, through PyAV, decodes, mixes down and resamples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import av
import av.audio.resampler
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
PcmFormat = Literal["s16le", "f32le"]

MODEL_SAMPLE_RATE = 16000


class AudioError(ValueError):
    """Audio that cannot be decoded. The message names the file and the reason."""


def load_audio(path: str | Path, sample_rate: int = MODEL_SAMPLE_RATE) -> Float32:
    """Decode a whole file to [samples] float32 in [-1, 1], mono, at `sample_rate` Hz.

    WAV, FLAC, OGG/Opus, MP3, M4A and whatever else FFmpeg reads; any rate and number of channels.

    Raises:
        AudioError: no such file, no audio in it, or damaged beyond decoding.
    """
    parts = list(decode_stream(path, sample_rate))
    if not parts:
        raise AudioError(f"{path}: the file holds no audio samples")
    return np.concatenate(parts)


def decode_stream(
    source: str | Path | BinaryIO,
    sample_rate: int = MODEL_SAMPLE_RATE,
    *,
    pcm: PcmFormat | None = None,
    pcm_rate: int = MODEL_SAMPLE_RATE,
    pcm_channels: int = 1,
) -> Iterator[Float32]:
    """Decode a file or a byte stream piece by piece, in constant memory.

    Args:
        source: a path, or an open binary file such as standard input.
        sample_rate: wanted rate, Hz.
        pcm: the stream is raw samples of this format instead of a file format that describes itself.
        pcm_rate: rate of raw samples, Hz.
        pcm_channels: interleaved channels of raw samples.

    Yields:
        [samples] float32 arrays, mono.

    Raises:
        AudioError: as `load_audio`.
    """
    name = str(source) if isinstance(source, (str, Path)) else getattr(source, "name", "the stream")
    if isinstance(source, (str, Path)) and not Path(source).is_file():
        raise AudioError(f"{name}: no such file")
    options = {"sample_rate": str(pcm_rate), "ch_layout": f"{pcm_channels}c"} if pcm else {}
    file = str(source) if isinstance(source, (str, Path)) else source
    try:
        with av.open(file, format=pcm, options=options) as container:
            if not container.streams.audio:
                raise AudioError(f"{name}: the file has no audio track")
            resampler = av.audio.resampler.AudioResampler(format="fltp", rate=sample_rate)
            for frame in container.decode(audio=0):
                for converted in resampler.resample(frame):
                    yield _mono(converted)
            for converted in resampler.resample(None):
                yield _mono(converted)
    except av.FFmpegError as error:
        raise AudioError(f"{name}: cannot be decoded: {error.strerror or error}") from error


def _mono(frame: av.AudioFrame) -> Float32:
    """Average the channels. FFmpeg's own mix of float samples adds them up, louder than each of them."""
    mixed: Float32 = frame.to_ndarray().mean(axis=0, dtype=np.float32)
    return mixed
