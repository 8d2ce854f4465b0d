"""Vocal tract length perturbation: other speakers from the same recordings, in the mel domain."""

from dataclasses import dataclass

import librosa
import torch
from torch import Tensor, nn

HIGHEST_HZ = 8000.0
BOUNDARY_HZ = 4800.0


@dataclass
class VocalTractSettings:
    """How often and how far formants move; a factor above 1 lengthens the tract, below 1 makes a child of an adult."""

    probability: float = 0.6
    factor_range: tuple[float, float] = (0.82, 1.12)


class VocalTractPerturbation(nn.Module):
    """Warps the frequency axis of each utterance by a factor of its own.

    Source: Jaitly and Hinton, "Vocal Tract Length Perturbation improves speech recognition", 2013: frequencies below a
    boundary are multiplied by the factor, those above are interpolated so that the highest stays where it is. There
    the filters are warped; here the log-mel spectrum is interpolated between filters, which needs no second spectrum.
    """

    def __init__(self, bands: int, settings: VocalTractSettings) -> None:
        super().__init__()
        self._settings = settings
        centres = librosa.mel_frequencies(n_mels=bands + 2, fmin=0.0, fmax=HIGHEST_HZ)[1:-1]  # Slaney's, as NeMo's
        self.register_buffer("_centres", torch.as_tensor(centres, dtype=torch.float32), persistent=False)

    def draw(self, batch: int) -> Tensor:
        """Factors FP32 [batch]; 1 for those that stay as they are."""
        low, high = self._settings.factor_range
        factors = low + (high - low) * torch.rand(batch)
        return torch.where(torch.rand(batch) < self._settings.probability, factors, torch.ones(batch))

    def warp(self, features: Tensor, factors: Tensor) -> Tensor:
        """Move what was at frequency f * factor to f.

        Args:
            features: log-mel FP32 [B, F, T].
            factors: FP32 [B].

        Returns:
            FP32 [B, F, T].
        """
        centres: Tensor = self._centres  # type: ignore[assignment]
        factors = factors.to(features.device)[:, None]
        boundary = BOUNDARY_HZ * factors.clamp(max=1) / factors
        slope = (HIGHEST_HZ - boundary * factors) / (HIGHEST_HZ - boundary)
        source = torch.where(centres <= boundary, centres * factors, HIGHEST_HZ - slope * (HIGHEST_HZ - centres))
        upper = torch.searchsorted(centres, source.contiguous()).clamp(1, len(centres) - 1)
        share = ((source - centres[upper - 1]) / (centres[upper] - centres[upper - 1])).clamp(0, 1)
        mixing = torch.zeros(len(features), len(centres), len(centres), device=features.device)
        mixing.scatter_(2, upper[..., None] - 1, (1 - share)[..., None])
        mixing.scatter_(2, upper[..., None], share[..., None])
        return mixing @ features

    def forward(self, features: Tensor) -> Tensor:
        """Warp a batch by factors drawn anew."""
        return self.warp(features, self.draw(len(features)))
