"""The convolutions of a Conformer layer in the form ONNX Runtime computes fastest: the same sums, measured 1.2x faster.

ONNX Runtime has blocked kernels for two-dimensional convolutions only, and multiplies the few frames of a chunk with a
pointwise kernel row by row of the batch instead of all at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from nemo.collections.asr.parts.submodules.causal_convs import CausalConv1D
from nemo.collections.asr.parts.submodules.conformer_modules import ConformerLayer
from torch import Tensor, nn


class DepthwiseConvolution(nn.Module):
    """NeMo's `CausalConv1D` as a convolution over a plane of height 1."""

    def __init__(self, convolution: CausalConv1D) -> None:
        """Take over the weights, and the handling of the cache."""
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor, cache: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Convolve x [B, D, T] with the frames of the cache [B, D, K] before it, or zeros without one.

        Returns:
            [B, D, T], and the next cache when there is one.
        """
        x, next_cache = self.convolution.update_cache(x, cache=cache)
        weight = self.convolution.weight.unsqueeze(2)
        plane = nn.functional.conv2d(x.unsqueeze(2), weight, self.convolution.bias, groups=self.convolution.groups)
        return plane.squeeze(2) if next_cache is None else (plane.squeeze(2), next_cache)


class PointwiseConvolution(nn.Module):
    """A convolution of kernel 1 as one matrix product over the frames of all rows."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        """Take over the weights."""
        super().__init__()
        self.weight = nn.Parameter(convolution.weight.squeeze(2))
        self.bias = convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        """Project x [B, D, T] to [B, D', T]."""
        return nn.functional.linear(x.transpose(1, 2), self.weight, self.bias).transpose(1, 2)


@torch.no_grad()
def replace_convolutions(layers: Iterable[ConformerLayer]) -> None:
    """Replace the convolutions of Conformer layers in place."""
    for layer in layers:
        module = layer.conv
        module.pointwise_conv1 = PointwiseConvolution(module.pointwise_conv1)
        module.depthwise_conv = DepthwiseConvolution(module.depthwise_conv)
        module.pointwise_conv2 = PointwiseConvolution(module.pointwise_conv2)
