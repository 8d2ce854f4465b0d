"""Forward-backward over the RNN-T lattice of Graves (2012): numba on the CPU, frame by frame in torch on a GPU.

Both take the log-probabilities that matter, already gathered from the joint's output: of blank and of the next label
at every node (frame t, labels emitted u). Both return the log-likelihoods and their gradients, analytically.
"""

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float32]

IMPOSSIBLE = -1e30


@numba.njit(inline="always")
def _log_add(a: float, b: float) -> float:
    if a < b:
        a, b = b, a
    return a if b <= IMPOSSIBLE else a + np.log1p(np.exp(b - a))


@numba.njit(inline="always")
def _forward(blank: Floats, label: Floats, frames: int, width: int) -> npt.NDArray[np.float64]:
    alpha = np.empty((frames, width))
    for t in range(frames):
        for u in range(width):
            value = 0.0 if t == 0 and u == 0 else IMPOSSIBLE
            if t > 0:
                value = alpha[t - 1, u] + blank[t - 1, u]
            if u > 0:
                value = _log_add(value, alpha[t, u - 1] + label[t, u - 1])
            alpha[t, u] = value
    return alpha


@numba.njit(inline="always")
def _backward(blank: Floats, label: Floats, frames: int, width: int) -> npt.NDArray[np.float64]:
    beta = np.empty((frames, width))
    for t in range(frames - 1, -1, -1):
        for u in range(width - 1, -1, -1):
            value = blank[t, u] if t == frames - 1 and u == width - 1 else IMPOSSIBLE
            if t < frames - 1:
                value = beta[t + 1, u] + blank[t, u]
            if u < width - 1:
                value = _log_add(value, beta[t, u + 1] + label[t, u])
            beta[t, u] = value
    return beta


@numba.njit(cache=True, nogil=True)
def _occupy(  # noqa: PLR0917 - numba takes no keyword-only arguments
    blank: Floats, label: Floats, frames: int, width: int, blank_grad: Floats, label_grad: Floats
) -> float:
    """Fill the gradients of one utterance and return its log-likelihood."""
    alpha, beta = _forward(blank, label, frames, width), _backward(blank, label, frames, width)
    total = beta[0, 0]
    for t in range(frames):
        for u in range(width):
            if t < frames - 1:
                blank_grad[t, u] = np.exp(alpha[t, u] + blank[t, u] + beta[t + 1, u] - total)
            elif u == width - 1:
                blank_grad[t, u] = np.exp(alpha[t, u] + blank[t, u] - total)
            if u < width - 1:
                label_grad[t, u] = np.exp(alpha[t, u] + label[t, u] + beta[t, u + 1] - total)
    return total  # type: ignore[no-any-return]


def lattice_numba(blank: Tensor, label: Tensor, frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-likelihood and occupation probabilities on the CPU.

    Args:
        blank: FP32 [B, T, U + 1], log-probability of blank at each node.
        label: FP32 [B, T, U], log-probability of the next label at each node.
        frames: INT64 [B], valid frames, at least 1.
        labels: INT64 [B], valid labels.

    Returns:
        log-likelihood FP32 [B], and its gradients with respect to `blank` and `label` (the probability that an
        alignment passes that arc), zero in the padding.
    """
    blank_grad, label_grad = torch.zeros_like(blank), torch.zeros_like(label)
    inputs, outputs = (blank.numpy(), label.numpy()), (blank_grad.numpy(), label_grad.numpy())
    totals = [
        _occupy(inputs[0][n], inputs[1][n], int(frames[n]), int(labels[n]) + 1, outputs[0][n], outputs[1][n])
        for n in range(len(frames))
    ]
    return torch.tensor(totals, dtype=blank.dtype), blank_grad, label_grad


def lattice_torch(blank: Tensor, label: Tensor, frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`lattice_numba` for any device: one step per frame, all utterances in both directions at once.

    A frame's row is a cumulative sum: with c the sums of its label arcs, (alpha - c)[u] is the logcumsumexp of what
    comes in from the frame before, less c. What is padding lies after every valid node and cannot flow back into it.
    """
    batch, max_frames, width = blank.shape
    blank, label = blank.double(), label.double()
    items = torch.arange(batch, device=blank.device)[:, None, None]
    times, rows = torch.arange(max_frames, device=blank.device), torch.arange(width, device=blank.device)
    inside = (times[:, None] < frames[:, None, None]) & (rows <= labels[:, None, None])
    # Backward is forward over the lattice turned around: frame T - 1 - t and row U - u come in place of t and u.
    turned_times = (frames[:, None] - 1 - times).clamp(min=0)[:, :, None]
    turned_rows = (labels[:, None] - rows).clamp(min=0)[:, None, :]
    turned_blank = blank[items, turned_times, turned_rows]
    turned_label = label[items, turned_times, (turned_rows[:, :, :-1] - 1).clamp(min=0)] if width > 1 else label
    start = torch.full((batch, 1, width), IMPOSSIBLE, dtype=torch.float64, device=blank.device)
    start[:, :, 0] = 0
    turned_start = start + turned_blank[:, :1, :1]
    walked = _walk(
        torch.cat([start, turned_start]),
        torch.cat([blank[:, :-1], turned_blank[:, 1:]]),
        torch.cat([label, turned_label]),
    )
    alpha, beta = walked[:batch], walked[batch:][items, turned_times, turned_rows]
    total = beta[:, 0, 0]

    outside = beta.new_full((batch, max(max_frames, width), 1), IMPOSSIBLE)
    beta = torch.where(inside, beta, outside[:, :1])
    scale = alpha - total[:, None, None]
    final = (times[:, None] == frames[:, None, None] - 1) & (rows == labels[:, None, None])
    beyond = torch.cat([beta[:, 1:], outside[:, :width].transpose(1, 2)], dim=1)
    beyond = torch.where(final, torch.zeros_like(beyond), beyond)
    # Padding's alpha may be anything, infinite too: it is left out, not multiplied by zero.
    blank_grad = torch.where(inside, (scale + blank + beyond).exp(), 0.0)
    label_grad = torch.where(inside[:, :, 1:], (scale[:, :, :-1] + label + beta[:, :, 1:]).exp(), 0.0)
    return total.to(torch.float32), blank_grad.to(torch.float32), label_grad.to(torch.float32)


def _walk(start: Tensor, blank: Tensor, label: Tensor) -> Tensor:
    """Log-probabilities of reaching every node, FP64 [N, T, U + 1].

    Args:
        start: what flows into the first frame, [N, 1, U + 1].
        blank: arcs into each later frame, [N, T - 1, U + 1].
        label: arcs within each frame, [N, T, U].
    """
    sums = torch.nn.functional.pad(label.cumsum(-1), (1, 0))
    # `reached` is alpha less the frame's own sums, so that a frame costs one addition and one scan.
    steps = torch.cat([start - sums[:, :1], sums[:, :-1] + blank - sums[:, 1:]], dim=1).unbind(1)
    reached = steps[0].logcumsumexp(-1)
    frames = [reached]
    for step in steps[1:]:
        reached = (reached + step).logcumsumexp(-1)
        frames.append(reached)
    return torch.stack(frames, dim=1) + sums
