"""Checks of incoming audio, before it touches any state."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from log_mel.mel import Float32

# Audio in [-1, 1] may overshoot a little after resampling; beyond this it is unscaled PCM.
MAX_AMPLITUDE = 2.0


def check_audio(audio: npt.NDArray[np.float32]) -> Float32:
    """Return a request's AUDIO [1, samples] as [samples].

    Raises:
        ValueError: more than one row; NaN or infinite samples; amplitudes that are not in [-1, 1].
    """
    if audio.ndim != 2 or audio.shape[0] != 1:
        raise ValueError(f"AUDIO has shape {list(audio.shape)}; expected [1, samples]: one stream per request")
    samples: Float32 = audio[0]
    peak = float(np.abs(samples).max()) if samples.size else 0.0
    if not np.isfinite(peak):
        index = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise ValueError(f"AUDIO[{index}] is {samples[index]}; every sample must be a finite number in [-1, 1]")
    if peak > MAX_AMPLITUDE:
        raise ValueError(f"AUDIO has a peak of {peak:g}; samples must be in [-1, 1] (divide 16-bit PCM by 32768 first)")
    return samples


def check_length(samples: int, chunk_samples: int, *, end: bool) -> None:
    """Raise ValueError unless a request of a stream may carry that many samples."""
    if end and samples > chunk_samples:
        raise ValueError(f"AUDIO has {samples} samples; the request with END may have 0 to {chunk_samples}")
    if not end and samples != chunk_samples:
        raise ValueError(
            f"AUDIO has {samples} samples; every request but the one with END must have exactly {chunk_samples}"
        )


def check_sample_rate(parameters: Mapping[str, str | int | bool], expected: int) -> None:
    """Raise ValueError when the optional request parameter `sample_rate` is not the model's."""
    rate = parameters.get("sample_rate", expected)
    if str(rate) != str(expected):
        raise ValueError(f"parameter sample_rate is {rate!r}; this model takes {expected} Hz: resample the audio")


def check_checksum(parameters: Mapping[str, str | int | bool], audio: npt.NDArray[np.float32]) -> None:
    """Raise ValueError when the optional request parameter `audio_crc32` is not the CRC-32 of AUDIO's bytes.

    gRPC has no checksum, and a bit that TCP's did not notice would become wrong words. This one is zlib's CRC-32 of the
    samples as they are sent, little-endian.
    """
    expected = parameters.get("audio_crc32")
    if expected is not None and str(expected) != str(zlib.crc32(audio.tobytes())):
        raise ValueError("AUDIO arrived damaged: its CRC-32 is not what parameter audio_crc32 says; send it again")
