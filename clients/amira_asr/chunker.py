"""Any audio buffers to chunks of the size that the model takes."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import soxr

from amira_asr.audio import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, Float32
from amira_asr.errors import InvalidAudio

Buffer: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.float32] | npt.NDArray[np.int16]
SampleFormat = Literal["s16le", "f32le"]

_BYTES: dict[str, str] = {"s16le": "<i2", "f32le": "<f4"}
# NumPy makes int64 of plain numbers: nobody's samples have 64 bits, and read as such they would be silence.
_NO_SAMPLES = ("i1", "i8")


class Chunker:
    """Takes buffers of any length and rate, gives chunks of exactly `chunk_samples` at the model's rate."""

    def __init__(
        self,
        chunk_samples: int,
        model_rate: int,
        *,
        sample_rate: int,
        sample_format: SampleFormat = "s16le",
        channels: int = 1,
    ) -> None:
        """Prepare.

        Args:
            chunk_samples: samples of a chunk.
            model_rate: rate the model takes, Hz.
            sample_rate: rate of the buffers, Hz.
            sample_format: how bytes are to be read: 16-bit integers or 32-bit floats, little-endian. Arrays say it
                themselves.
            channels: interleaved channels of the buffers; they are averaged.

        Raises:
            InvalidAudio: an impossible rate or number of channels, or an unknown format.
        """
        if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
            raise InvalidAudio(f"sample_rate is {sample_rate}; allowed: {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz")
        if sample_format not in _BYTES:
            raise InvalidAudio(f"sample_format is {sample_format!r}; allowed: {', '.join(_BYTES)}")
        if not 1 <= channels <= 64:
            raise InvalidAudio(f"channels is {channels}; allowed: 1 to 64")
        self._chunk_samples = chunk_samples
        self._dtype = np.dtype(_BYTES[sample_format])
        self._channels = channels
        self._odd = b""
        self._pending = np.zeros(0, np.float32)
        self._resampler = (
            None if sample_rate == model_rate else soxr.ResampleStream(sample_rate, model_rate, 1, dtype="float32")
        )

    def push(self, buffer: Buffer) -> list[Float32]:
        """Take a buffer; return the chunks it completes, [chunk_samples] float32 each.

        Raises:
            InvalidAudio: an array of more than one dimension, or of anything but int16, int32 and float samples.
        """
        self._append(self._samples(buffer), last=False)
        return self._whole_chunks()

    def finish(self) -> list[Float32]:
        """Return what is left: whole chunks the resampler still held, and a last one that is shorter, maybe empty."""
        self._append(np.zeros(0, np.float32), last=True)
        chunks = self._whole_chunks()
        return [*chunks, self._pending]

    def whole(self, buffer: Buffer) -> Float32:
        """Return all samples of a recording, [samples] float32. Raises as `push`."""
        return np.concatenate([*self.push(buffer), *self.finish()])

    def _whole_chunks(self) -> list[Float32]:
        count = len(self._pending) // self._chunk_samples
        *chunks, self._pending = np.split(self._pending, [n * self._chunk_samples for n in range(1, count + 1)])
        return chunks

    def _append(self, samples: Float32, *, last: bool) -> None:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
        if len(samples):
            self._pending = np.concatenate([self._pending, samples])

    def _samples(self, buffer: Buffer) -> Float32:
        """Return the samples of a buffer, [samples] float32, one channel."""
        if isinstance(buffer, np.ndarray):
            if buffer.ndim != 1 or buffer.dtype.kind not in "fi" or buffer.dtype.str[1:] in _NO_SAMPLES:
                raise InvalidAudio(
                    f"an audio array has shape {buffer.shape} and dtype {buffer.dtype}; "
                    "allowed: one dimension (mono, or interleaved channels) of int16, int32 or float samples"
                )
            if len(buffer) % self._channels:
                raise InvalidAudio(
                    f"an audio array has {len(buffer)} samples; allowed: multiples of its {self._channels} channels"
                )
            return self._mono(buffer)
        if not isinstance(buffer, (bytes, bytearray, memoryview)):
            raise InvalidAudio(f"an audio buffer is of type {type(buffer).__name__}; allowed: bytes, arrays of samples")
        data = self._odd + bytes(buffer)
        frame = self._dtype.itemsize * self._channels
        whole = len(data) // frame * frame
        self._odd = data[whole:]
        return self._mono(np.frombuffer(data[:whole], self._dtype))

    def _mono(self, samples: npt.NDArray[np.float32] | npt.NDArray[np.int16]) -> Float32:
        floats = _to_float(samples)
        if self._channels > 1:
            floats = floats.reshape(-1, self._channels).mean(axis=1, dtype=np.float32)
        return floats


def _to_float(samples: npt.NDArray[np.float32] | npt.NDArray[np.int16]) -> Float32:
    """Scale integers to [-1, 1]; floats are in it already."""
    floats: Float32 = samples.astype(np.float32, copy=False)
    if samples.dtype.kind == "i":
        floats = floats / np.float32(2 ** (8 * samples.dtype.itemsize - 1))
    return floats
