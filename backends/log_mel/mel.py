"""Log-mel features equal to NeMo's `AudioToMelSpectrogramPreprocessor` (normalize NA, dither 0).

The filterbank and the window come from the checkpoint (`mel.npz`), so nothing about them is computed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.parameters import ModelConfig

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LogMel:
    """The transform of one frame, and the geometry of frames.

    Frame i is centred on sample i * hop_samples and sees window_samples around it.

    Attributes:
        filterbank: [n_mels, n_fft // 2 + 1] float32.
        window: [window_samples] float32.
        n_fft: FFT length, samples.
        hop_samples: distance between frames, samples.
        preemphasis: coefficient a of y[t] = x[t] - a * x[t - 1].
        log_guard: added to the mel energies before the logarithm.
    """

    filterbank: Float32
    window: Float32
    n_fft: int
    hop_samples: int
    preemphasis: float
    log_guard: float

    @staticmethod
    def configured(config: ModelConfig, version_folder: Path) -> LogMel:
        """Read a model's parameters and its `mel.npz`. Raises ValueError when the shapes in it do not fit."""
        n_fft = config.integer("n_fft", 1)
        path = version_folder / "mel.npz"
        with np.load(path) as arrays:
            filterbank = np.asarray(arrays["filterbank"], np.float32)
            window = np.asarray(arrays["window"], np.float32)
        if filterbank.ndim != 2 or filterbank.shape[1] != n_fft // 2 + 1:
            raise ValueError(f"{path}: filterbank has shape {filterbank.shape}, expected [n_mels, {n_fft // 2 + 1}]")
        if window.ndim != 1 or len(window) > n_fft or len(window) % 2:
            raise ValueError(f"{path}: window has shape {window.shape}, expected an even length <= {n_fft}")
        return LogMel(
            filterbank,
            window,
            n_fft,
            hop_samples=config.integer("hop_samples", 1),
            preemphasis=config.number("preemphasis"),
            log_guard=config.number("log_guard"),
        )

    @property
    def n_mels(self) -> int:
        """Number of mel bands."""
        return len(self.filterbank)

    @property
    def half_window(self) -> int:
        """Samples a frame sees on either side of its centre."""
        return len(self.window) // 2

    def frame_count(self, samples: int) -> int:
        """Return how many frames NeMo counts for a waveform of that many samples."""
        return samples // self.hop_samples

    def emphasise(self, audio: Float32, previous: np.float32) -> Float32:
        """Apply pre-emphasis to [samples], `previous` being the raw sample before them (0 at the start)."""
        emphasised = audio.copy()
        emphasised[1:] -= np.float32(self.preemphasis) * audio[:-1]
        if len(audio):
            emphasised[0] -= np.float32(self.preemphasis) * previous
        return emphasised

    def frames(self, emphasised: Float32) -> Float32:
        """Cut [samples] into every whole frame, [frames, window_samples]; the first starts at sample 0."""
        if len(emphasised) < len(self.window):
            return np.zeros((0, len(self.window)), np.float32)
        every: Float32 = np.lib.stride_tricks.sliding_window_view(emphasised, len(self.window))
        return every[:: self.hop_samples]

    def features(self, frames: Float32) -> Float32:
        """Transform [frames, window_samples] to log-mel [frames, n_mels] float32.

        A power spectrum does not change when the window is shifted inside the FFT, so the window need not be
        centred in it as torch.stft does.
        """
        spectrum = np.fft.rfft(frames * self.window, self.n_fft, axis=-1)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        log_mel: Float32 = np.log(power @ self.filterbank.T + np.float32(self.log_guard))
        return log_mel

    def utterance(self, audio: Float32) -> Float32:
        """Features of a whole waveform [samples], [frame_count, n_mels] float32."""
        silence = np.zeros(self.half_window, np.float32)
        emphasised = np.concatenate([silence, self.emphasise(audio, np.float32(0)), silence])
        return self.features(self.frames(emphasised)[: self.frame_count(len(audio))])
