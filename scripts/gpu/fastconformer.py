"""The step of a cache-aware FastConformer encoder in plain torch, random weights: the same work as the exported graph.

Streams keep their caches on the device, in slots allocated once; a step gathers the slots of its streams, and scatters
the next caches back (Noroozi et al. 2023; NeMo: `ConformerEncoder.cache_aware_stream_step`). For measuring, not for
recognising: subsampling sees each window alone, and padding is not masked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Sizes:
    """Of an encoder.

    Attributes:
        layers: Conformer layers.
        model_dim: their width.
        heads: of the attention.
        n_mels: mel bands.
        channels: of the subsampling convolutions.
        left_context: encoder frames in the attention cache.
        kernel: of the depthwise convolution.
    """

    layers: int
    model_dim: int
    heads: int
    n_mels: int = 128
    channels: int = 256
    left_context: int = 70
    kernel: int = 9


class Subsampling(nn.Module):
    """Eight mel frames to one encoder frame: NeMo's `dw_striding`, causal."""

    def __init__(self, sizes: Sizes) -> None:
        """Make random weights."""
        super().__init__()
        c = sizes.channels
        self.first = nn.Conv2d(1, c, 3, stride=2)
        self.depthwise = nn.ModuleList(nn.Conv2d(c, c, 3, stride=2, groups=c) for _ in range(2))
        self.pointwise = nn.ModuleList(nn.Conv2d(c, c, 1) for _ in range(2))
        mels = sizes.n_mels
        for _ in range(3):
            mels = mels // 2 + 1
        self.out = nn.Linear(c * mels, sizes.model_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Subsample [B, T, n_mels] to [B, T', model_dim]."""
        x = functional.relu(self.first(_padded(x.unsqueeze(1))))
        for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            x = functional.relu(pointwise(depthwise(_padded(x))))
        subsampled: Tensor = self.out(x.transpose(1, 2).flatten(2))
        return subsampled


def _padded(x: Tensor) -> Tensor:
    return functional.pad(x, (2, 1, 2, 1))


class Layer(nn.Module):
    """Feed-forward, relative-position attention over cache and chunk, causal convolution, feed-forward."""

    def __init__(self, sizes: Sizes) -> None:
        """Make random weights."""
        super().__init__()
        d, self.heads = sizes.model_dim, sizes.heads
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(6))
        self.feed_forwards = nn.ModuleList(
            nn.Sequential(nn.Linear(d, 4 * d), nn.SiLU(), nn.Linear(4 * d, d)) for _ in range(2)
        )
        self.query, self.out = nn.Linear(d, d), nn.Linear(d, d)
        self.key, self.value = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.position_bias, self.content_bias = (nn.Parameter(0.1 * torch.randn(d)) for _ in range(2))
        self.widen, self.narrow = nn.Linear(d, 2 * d), nn.Linear(d, d)
        self.depthwise = nn.Conv1d(d, d, sizes.kernel, groups=d)

    def forward(self, x: Tensor, channel: Tensor, time: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Advance one step.

        Args:
            x: [B, C, d].
            channel: cached inputs of the attention, [B, L, d].
            time: cached inputs of the convolution, [B, d, kernel - 1].
            position: projected position embeddings, [2 * (L + C) - 1, d].

        Returns:
            [B, C, d] and the next caches.
        """
        x = x + 0.5 * self.feed_forwards[0](self.norms[0](x))
        seen = torch.cat([channel, self.norms[1](x)], dim=1)
        x = x + self._attend(seen, x.size(1), position)
        gated = functional.glu(self.widen(self.norms[2](x)), dim=-1).transpose(1, 2)
        gated = torch.cat([time, gated], dim=2)
        x = x + self.narrow(functional.silu(self.norms[3](self.depthwise(gated).transpose(1, 2))))
        x = x + 0.5 * self.feed_forwards[1](self.norms[4](x))
        return self.norms[5](x), seen[:, -channel.size(1) :], gated[:, :, -time.size(2) :]

    def _attend(self, seen: Tensor, frames: int, position: Tensor) -> Tensor:
        """Attend from the last `frames` of `seen` to all of it (Transformer-XL: content and position scores).

        Keys and values of what is seen are never made, as in the exported graph (`scripts/export/attention.py`).
        """
        batch = seen.size(0)
        query = self.query(seen[:, -frames:])
        key, value = (linear.weight.view(self.heads, -1, query.size(-1)) for linear in (self.key, self.value))
        asked = (self._split(query + self.content_bias) @ key).view(batch, self.heads * frames, -1)
        by_content = (asked @ seen.transpose(1, 2)).view(batch, self.heads, frames, -1)
        by_distance = self._split(query + self.position_bias) @ self._split(position[None]).transpose(-1, -2)
        width = seen.size(1)
        # Row i of the shifted scores begins at its own distance.
        shifted = functional.pad(by_distance, (1, 0)).flatten(2)[:, :, frames:].reshape(by_distance.shape)
        scores = (by_content + shifted[..., :width]) * (query.size(-1) // self.heads) ** -0.5
        sums = scores.softmax(dim=-1).view(batch, self.heads * frames, -1) @ seen
        attended = (sums.view(batch, self.heads, frames, -1) @ value.transpose(1, 2)).transpose(1, 2).flatten(2)
        projected: Tensor = self.out(attended)
        return projected

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class SlottedEncoder(nn.Module):
    """An encoder and the caches of its streams."""

    def __init__(self, sizes: Sizes, slots: int, frames: int) -> None:
        """Make random weights, and zero caches for `slots` streams in chunks of `frames` encoder frames."""
        super().__init__()
        self.sizes, self.frames = sizes, frames
        d = sizes.model_dim
        self.subsampling = Subsampling(sizes)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))
        longest = sizes.left_context + frames
        self.register_buffer("position", torch.randn(sizes.layers, 2 * longest - 1, d))
        self.register_buffer("channel", torch.zeros(slots, sizes.layers, sizes.left_context, d))
        self.register_buffer("time", torch.zeros(slots, sizes.layers, d, sizes.kernel - 1))

    @property
    def window_frames(self) -> int:
        """Mel frames of a chunk with those it repeats."""
        return 8 * self.frames + 9

    @property
    def bytes_per_stream(self) -> int:
        """Bytes of one stream's caches."""
        caches = (self.channel, self.time)
        return sum(cache[0].numel() * cache.element_size() for cache in caches)

    @torch.no_grad()
    def forward(self, features: Tensor, slots: Tensor) -> Tensor:
        """Advance the streams in `slots` [B] int64 by features [B, window_frames, n_mels]; return [B, frames, d]."""
        x = self.subsampling(features)[:, -self.frames :]
        channels, times = self.channel.index_select(0, slots), self.time.index_select(0, slots)
        next_channels, next_times = torch.empty_like(channels), torch.empty_like(times)
        for index, layer in enumerate(self.layers):
            x, next_channels[:, index], next_times[:, index] = layer(
                x, channels[:, index], times[:, index], self.position[index]
            )
        self.channel.index_copy_(0, slots, next_channels)
        self.time.index_copy_(0, slots, next_times)
        return x
