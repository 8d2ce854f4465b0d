"""A fast CPU path for FastConformer's depthwise-striding subsampling.

Half of a training step on the CPU went into two depthwise convolutions: oneDNN's backward pass of a strided 3x3 kernel
takes twenty times as long as plain loops over channels-last data. The loops here also apply the ReLU, the length mask
and the causal padding, so that no padded, masked or rectified copy is ever stored.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

Floats = npt.NDArray[np.float32]
Lengths = npt.NDArray[np.int64]

KERNEL, STRIDE, LEFT = 3, 2, 2  # NeMo's CausalConv2D pads kernel - 1 before and stride - 1 after, in time and frequency


def output_length(length: Any) -> Any:
    """Frames (or bands) after one stride: padding 2 + 1, kernel 3, stride 2."""
    return length // STRIDE + 1


@numba.njit(fastmath=True, cache=True, nogil=True)
def _forward(x: Floats, lengths: Lengths, weight: Floats, bias: Floats, out: Floats) -> None:
    batch, _, bands, channels = x.shape
    for n in range(batch):
        for t in range(out.shape[1]):
            for q in range(out.shape[2]):
                for c in range(channels):
                    out[n, t, q, c] = bias[c]
                for i in range(KERNEL):
                    row = STRIDE * t + i - LEFT
                    if row < 0 or row >= lengths[n]:
                        continue
                    for j in range(KERNEL):
                        column = STRIDE * q + j - LEFT
                        if column < 0 or column >= bands:
                            continue
                        for c in range(channels):
                            out[n, t, q, c] += max(x[n, row, column, c], np.float32(0)) * weight[i, j, c]


@numba.njit(fastmath=True, cache=True, nogil=True)
def _backward(  # noqa: PLR0917 - numba takes no keyword-only arguments
    x: Floats,
    lengths: Lengths,
    weight: Floats,
    grad: Floats,
    x_grad: Floats,
    weight_grad: Floats,
    bias_grad: Floats,
) -> None:
    batch, _, bands, channels = x.shape
    for n in range(batch):
        for t in range(grad.shape[1]):
            for q in range(grad.shape[2]):
                for c in range(channels):
                    bias_grad[c] += grad[n, t, q, c]
                for i in range(KERNEL):
                    row = STRIDE * t + i - LEFT
                    if row < 0 or row >= lengths[n]:
                        continue
                    for j in range(KERNEL):
                        column = STRIDE * q + j - LEFT
                        if column < 0 or column >= bands:
                            continue
                        for c in range(channels):
                            value = x[n, row, column, c]
                            slope = grad[n, t, q, c]
                            x_grad[n, row, column, c] += slope * weight[i, j, c] if value > 0 else np.float32(0)
                            weight_grad[i, j, c] += slope * max(value, np.float32(0))


class _RectifiedDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # type: ignore[override]
        wide = x.float().contiguous()
        taps = weight[:, 0].permute(1, 2, 0).float().contiguous()
        out = torch.empty(x.shape[0], output_length(x.shape[1]), output_length(x.shape[2]), x.shape[3])
        _forward(wide.numpy(), lengths.numpy(), taps.numpy(), bias.float().numpy(), out.numpy())
        context.save_for_backward(wide, lengths, taps)
        return out.to(x.dtype)

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        wide, lengths, taps = context.saved_tensors
        x_grad, taps_grad = torch.zeros_like(wide), torch.zeros_like(taps)
        bias_grad = torch.zeros(taps.shape[-1])
        _backward(
            wide.numpy(),
            lengths.numpy(),
            taps.numpy(),
            grad.float().contiguous().numpy(),
            x_grad.numpy(),
            taps_grad.numpy(),
            bias_grad.numpy(),
        )
        return x_grad.to(grad.dtype), None, taps_grad.permute(2, 0, 1)[:, None], bias_grad


def rectified_depthwise(x: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """ReLU, zero beyond each length, causal zero padding, then a depthwise 3x3 convolution of stride 2.

    Args:
        x: FP32 or BF16 [B, T, F, C] on the CPU.
        lengths: INT64 [B], valid frames.
        weight: FP32 [C, 1, 3, 3].
        bias: FP32 [C].

    Returns:
        [B, T // 2 + 1, F // 2 + 1, C] of the type of `x`.
    """
    out: Tensor = _RectifiedDepthwise.apply(x, lengths, weight, bias)
    return out


def _patches(x: Tensor, lengths: Tensor) -> Tensor:
    """[B, T, F] to [B, T // 2 + 1, F // 2 + 1, 9]: what each position of the first convolution sees."""
    valid = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    padded = nn.functional.pad(x * valid[..., None], (LEFT, STRIDE - 1, LEFT, STRIDE - 1))
    return padded.unfold(1, KERNEL, STRIDE).unfold(2, KERNEL, STRIDE).flatten(3)


class FastSubsampling:
    """Computes what NeMo's `MaskedConvSequential` of `dw_striding` does: [B, T, F] to [B, C, T', F']."""

    def __init__(self, convolutions: nn.Sequential) -> None:
        """Take over the weights of the layers: conv, ReLU, then (depthwise, pointwise, ReLU) repeated.

        Raises:
            ValueError: the layers are not causal 3x3 convolutions of stride 2 in that order.
        """
        self._first = convolutions[0]
        rest = list(convolutions[2:])
        self._stages = [(rest[at], rest[at + 1]) for at in range(0, len(rest), 3)]
        for layer in [self._first, *(depthwise for depthwise, _ in self._stages)]:
            if (layer.kernel_size, layer.stride, getattr(layer, "_left_padding", None)) != ((3, 3), (2, 2), LEFT):
                raise ValueError(f"cannot accelerate {layer}; expected a causal 3x3 convolution of stride 2")
        for depthwise, pointwise in self._stages:
            if depthwise.groups != depthwise.in_channels or pointwise.kernel_size != (1, 1):
                raise ValueError(f"cannot accelerate {depthwise}, {pointwise}; expected a depthwise-separable pair")

    def __call__(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features FP32 [B, T, F] and lengths INT64 [B] to [B, C, T', F'] and lengths."""
        y = linear(_patches(x, lengths), self._first.weight.flatten(1), self._first.bias)
        lengths = output_length(lengths)
        for depthwise, pointwise in self._stages:
            y = rectified_depthwise(y, lengths, depthwise.weight, depthwise.bias)
            y = linear(y, pointwise.weight.flatten(1), pointwise.bias)
            lengths = output_length(lengths)
        valid = torch.arange(y.shape[1], device=y.device) < lengths[:, None]
        return (y.relu() * valid[..., None, None]).permute(0, 3, 1, 2), lengths


def accelerate_subsampling(encoder: Any) -> None:
    """Make a NeMo encoder on the CPU subsample with `FastSubsampling`; its weights and its state stay as they are."""
    convolutions = encoder.pre_encode.conv
    convolutions.forward = FastSubsampling(convolutions)
