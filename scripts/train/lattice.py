"""Forward-backward over the RNN-T lattice of Graves (2012): numba on the CPU, anti-diagonals in torch on a GPU.

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


def _skew(values: Tensor, diagonals: int) -> Tensor:
    """[B, T, W] -> [B, D, W] with row d, column u holding frame t = d - u; impossible where there is none."""
    _, frames, width = values.shape
    t = torch.arange(diagonals, device=values.device)[:, None] - torch.arange(width, device=values.device)
    inside = (t >= 0) & (t < frames)
    columns = torch.arange(width, device=values.device).expand(diagonals, width)
    return torch.where(inside, values[:, t.clamp(0, frames - 1), columns], values.new_tensor(IMPOSSIBLE))


def _unskew(values: Tensor, frames: int) -> Tensor:
    """The inverse of `_skew`."""
    width = values.shape[2]
    t = torch.arange(frames, device=values.device)[:, None] + torch.arange(width, device=values.device)
    return values[:, t, torch.arange(width, device=values.device).expand(frames, width)]


def lattice_torch(blank: Tensor, label: Tensor, frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`lattice_numba` for any device: every anti-diagonal t + u is one step, all its nodes at once."""
    batch, max_frames, width = blank.shape
    diagonals = max_frames + width - 1
    label = torch.cat([label, label.new_full((batch, max_frames, 1), IMPOSSIBLE)], dim=2)
    # No label may leave the last valid row, and no blank the last valid frame except from the final node.
    rows = torch.arange(width, device=blank.device)
    times = torch.arange(max_frames, device=blank.device)
    label = label.masked_fill(rows >= labels[:, None, None], IMPOSSIBLE)
    last = (times[:, None] == frames[:, None, None] - 1) & (rows == labels[:, None, None])
    final = torch.where(last, blank, blank.new_tensor(IMPOSSIBLE))
    inner = blank.masked_fill(times[:, None] >= frames[:, None, None] - 1, IMPOSSIBLE)
    inner_by_diagonal, label_by_diagonal = _skew(inner, diagonals).double(), _skew(label, diagonals).double()
    final_by_diagonal = _skew(final, diagonals).double()

    impossible = torch.full((batch, 1), IMPOSSIBLE, dtype=torch.float64, device=blank.device)
    alpha = torch.cat([torch.zeros_like(impossible), impossible.expand(batch, width - 1)], dim=1)
    alphas = [alpha]
    for d in range(1, diagonals):
        emitted = torch.cat([impossible, (alpha + label_by_diagonal[:, d - 1])[:, :-1]], dim=1)
        alpha = torch.logaddexp(alpha + inner_by_diagonal[:, d - 1], emitted).clamp(min=IMPOSSIBLE)
        alphas.append(alpha)
    beta = final_by_diagonal[:, -1]
    betas = [beta]
    for d in range(diagonals - 2, -1, -1):
        emitted = label_by_diagonal[:, d] + torch.cat([beta[:, 1:], impossible], dim=1)
        onward = torch.logaddexp(inner_by_diagonal[:, d] + beta, emitted)
        beta = torch.logaddexp(onward, final_by_diagonal[:, d]).clamp(min=IMPOSSIBLE)
        betas.append(beta)
    forward, backward = torch.stack(alphas, dim=1), torch.stack(betas[::-1], dim=1)
    total = backward[:, 0, 0]

    beyond = torch.cat([backward[:, 1:], impossible[:, None].expand(batch, 1, width)], dim=1)
    after_label = torch.cat([beyond[:, :, 1:], impossible[:, None].expand(batch, diagonals, 1)], dim=2)
    scale = forward - total[:, None, None]
    blank_grad = (scale + inner_by_diagonal + beyond).exp() + (scale + final_by_diagonal).exp()
    label_grad = (scale + label_by_diagonal + after_label).exp()
    dtype = blank.dtype
    return (
        total.to(dtype),
        _unskew(blank_grad, max_frames).to(dtype),
        _unskew(label_grad, max_frames)[:, :, :-1].to(dtype),
    )
