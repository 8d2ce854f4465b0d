"""The transform of `mel.py` in torch, on any device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from log_mel.mel import Float32, LogMel


class TorchLogMel:
    """Log-mel of many waveforms at once.

    The FFT is in FP32, as NeMo's is; NumPy's is in FP64. `tests/backends/test_torch_log_mel.py` says how far apart they
    may be.
    """

    def __init__(self, mel: LogMel, device: torch.device) -> None:
        """Bring filterbank and window to the device."""
        self.mel = mel
        self.device = device
        self._filters = torch.from_numpy(np.ascontiguousarray(mel.filterbank.T)).to(device)
        self._window = torch.from_numpy(mel.window).to(device)

    @torch.inference_mode()
    def features(self, emphasised: Tensor) -> Tensor:
        """Transform emphasised samples [B, samples] to every whole frame of them, [B, frames, n_mels] float32."""
        mel = self.mel
        frames = emphasised.unfold(-1, len(mel.window), mel.hop_samples)
        spectrum = torch.fft.rfft(frames * self._window, mel.n_fft)
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.log(power @ self._filters + mel.log_guard)

    @torch.inference_mode()
    def emphasise(self, audio: Tensor, previous: Tensor) -> Tensor:
        """Apply pre-emphasis to [B, samples], `previous` [B, 1] being the raw samples before them."""
        return audio - self.mel.preemphasis * torch.cat([previous, audio[:, :-1]], dim=1)

    @torch.inference_mode()
    def utterance(self, audio: Float32) -> Float32:
        """Features of a whole waveform [samples], at least one, [frame_count, n_mels] float32."""
        samples = torch.from_numpy(np.array(audio)).to(self.device)[None]
        emphasised = self.emphasise(samples, torch.zeros(1, 1, device=self.device))
        padded = functional.pad(emphasised, (self.mel.half_window, self.mel.half_window))
        if padded.shape[1] < len(self.mel.window):
            return np.zeros((0, self.mel.n_mels), np.float32)
        features: Float32 = self.features(padded)[0, : self.mel.frame_count(len(audio))].cpu().numpy()
        return features
