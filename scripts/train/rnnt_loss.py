"""Exact RNN-T loss (Graves 2012, arXiv 1211.3711) that never stores a normalised joint output.

Only two log-probabilities of a lattice node matter, blank's and the next label's, each logit - logsumexp; the gradient
of the rest is a softmax weighted by the node's occupation. FastEmit (Yu et al. 2021, arXiv 2010.11148) scales the
gradient of label arcs by 1 + lambda.
"""

from typing import Any

import torch
from torch import Tensor

from scripts.train.lattice import lattice_numba, lattice_torch


def _parts(batch: int, *, on_gpu: bool) -> list[slice]:
    """Utterances to normalise at a time: on the CPU one, which stays in the cache; on a GPU all."""
    return [slice(0, batch)] if on_gpu else [slice(n, n + 1) for n in range(batch)]


class _RNNTLoss(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]  # noqa: PLR0917 - autograd takes positions only
        context: Any, logits: Tensor, labels: Tensor, frames: Tensor, label_lengths: Tensor, blank: int, fastemit: float
    ) -> Tensor:
        batch, max_frames, width, _ = logits.shape
        index = labels[:, None, :, None].expand(-1, max_frames, -1, 1)
        log_sum = logits.new_empty((batch, max_frames, width), dtype=torch.float32)
        blank_log_prob = torch.empty_like(log_sum)
        label_log_prob = log_sum.new_empty((batch, max_frames, width - 1))
        for part in _parts(batch, on_gpu=logits.is_cuda):
            wide = logits[part].float()
            log_sum[part] = wide.logsumexp(dim=-1)
            blank_log_prob[part] = wide[..., blank] - log_sum[part]
            label_log_prob[part] = wide[:, :, :-1].gather(-1, index[part])[..., 0] - log_sum[part][:, :, :-1]
        lattice = lattice_torch if logits.is_cuda else lattice_numba
        total, blank_grad, label_grad = lattice(blank_log_prob, label_log_prob, frames, label_lengths)
        context.blank = blank
        context.save_for_backward(logits, log_sum, index, blank_grad, label_grad * (1 + fastemit))
        return -total

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        logits, log_sum, index, blank_grad, label_grad = context.saved_tensors
        weight = grad[:, None, None]
        blank_slope, label_slope = weight * blank_grad, weight * label_grad
        occupation = blank_slope.clone()
        occupation[:, :, :-1] += label_slope
        slopes = torch.empty_like(logits)
        for part in _parts(len(logits), on_gpu=logits.is_cuda):
            slope = (logits[part].float() - log_sum[part][..., None]).exp_().mul_(occupation[part][..., None])
            slope[..., context.blank] -= blank_slope[part]
            slope[:, :, :-1].scatter_add_(-1, index[part], -label_slope[part][..., None])
            slopes[part] = slope
        return slopes, None, None, None, None, None


def rnnt_loss(
    logits: Tensor, labels: Tensor, frames: Tensor, label_lengths: Tensor, *, blank: int, fastemit: float = 0.0
) -> Tensor:
    """Negative log-likelihood of each label sequence, summed over all alignments.

    Args:
        logits: FP32 or BF16 [B, T, U + 1, V + 1], unnormalised joint output.
        labels: INT64 [B, U], padded with any valid label.
        frames: INT64 [B], valid encoder frames, 1 to T.
        label_lengths: INT64 [B], valid labels, 0 to U.
        blank: index of blank.
        fastemit: FastEmit's lambda; changes gradients only.

    Returns:
        FP32 [B], in nats.

    Raises:
        ValueError: shapes disagree or a length is out of range.
    """
    batch, max_frames, width, _ = logits.shape
    if labels.shape != (batch, width - 1):
        raise ValueError(f"labels have shape {tuple(labels.shape)}, expected {(batch, width - 1)} to fit the logits")
    # All bounds in one tensor: on a GPU every value read alone waits for the device.
    bounds = torch.stack([bound for lengths in (frames, label_lengths) for bound in lengths.aminmax()])
    shortest, longest, fewest, most = bounds.tolist()
    if shortest < 1 or longest > max_frames:
        raise ValueError(f"frames are {shortest} to {longest}, allowed are 1 to {max_frames}")
    if fewest < 0 or most >= width:
        raise ValueError(f"label lengths reach {most}, allowed are 0 to {width - 1}")
    loss: Tensor = _RNNTLoss.apply(logits, labels, frames, label_lengths, blank, fastemit)
    return loss
