"""The encoder for a whole utterance: no caches, the attention mask of the streaming encoder, so the same frames."""

from __future__ import annotations

import copy

import torch
from nemo.collections.asr.modules import ConformerEncoder
from nemo.collections.asr.parts.submodules.multi_head_attention import RelPositionalEncoding
from torch import Tensor, nn

from scripts.export.convolutions import replace_convolutions


class ComputedPositions(nn.Module):
    """NeMo's `RelPositionalEncoding` without its table: the sinusoids are computed, so no utterance is too long."""

    def __init__(self, positions: RelPositionalEncoding) -> None:
        """Take over the scale of the inputs and the width."""
        super().__init__()
        self.xscale = positions.xscale
        even = torch.arange(0, positions.d_model, 2, dtype=torch.float32)
        self.register_buffer("frequency", torch.exp(even * -(torch.log(torch.tensor(10000.0)) / positions.d_model)))
        self.frequency: Tensor

    def forward(self, x: Tensor, cache_len: int = 0) -> tuple[Tensor, Tensor]:
        """Scale x [B, T, D] and return the embeddings of positions T - 1 to 1 - T, [1, 2 * T - 1, D]."""
        frames = x.size(1) + cache_len
        position = torch.arange(2 * frames - 1, device=x.device) - (frames - 1)
        angle = -position.to(torch.float32).unsqueeze(1) * self.frequency
        embedding = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
        return x * self.xscale if self.xscale else x, embedding.unsqueeze(0)


class BatchEncoder(nn.Module):
    """NeMo's offline encoder with time before channels."""

    def __init__(self, encoder: ConformerEncoder) -> None:
        """Copy an encoder whose attention context is set."""
        super().__init__()
        self.encoder = copy.deepcopy(encoder).eval()
        replace_convolutions(self.encoder.layers)
        self.encoder.pos_enc = ComputedPositions(self.encoder.pos_enc)

    def forward(self, features: Tensor, features_length: Tensor) -> tuple[Tensor, Tensor]:
        """Encode utterances.

        Args:
            features: [B, n_mels, T] float32.
            features_length: [B, 1] int64, valid frames of each.

        Returns:
            encoded [B, T', encoder_dim] float32 and encoded_length [B, 1] int64, 0 for an utterance of no frame.
        """
        length = features_length[:, 0]
        encoded, encoded_length = self.encoder.forward_internal(features, length)
        encoded_length = encoded_length * (length > 0)  # NeMo makes one encoder frame of nothing
        return encoded.transpose(1, 2), encoded_length.unsqueeze(1)
