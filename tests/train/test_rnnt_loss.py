"""The loss against enumeration of every alignment, and its gradients against finite differences."""

# ruff: noqa: E402 - imports follow the skips

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from scripts.train.lattice import lattice_numba, lattice_torch
from scripts.train.rnnt_loss import rnnt_loss

FRAMES, LENGTHS = [5, 4, 3, 1, 1], [3, 2, 3, 0, 3]


def enumerate_alignments(log_probs, labels, frames, length, blank):
    """-log of the summed probability of all alignments, by recursion without any sharing."""

    def follow(t, u, so_far):
        if t == frames - 1 and u == length:
            return [so_far + log_probs[t, u, blank].item()]
        found = []
        if t < frames - 1:
            found += follow(t + 1, u, so_far + log_probs[t, u, blank].item())
        if u < length:
            found += follow(t, u + 1, so_far + log_probs[t, u, labels[u]].item())
        return found

    return -math.log(sum(math.exp(score) for score in follow(0, 0, 0.0)))


def example(blank, *, vocabulary=6, dtype=torch.float32):
    torch.manual_seed(1)
    batch = len(FRAMES)
    logits = torch.randn(batch, max(FRAMES), max(LENGTHS) + 1, vocabulary, dtype=dtype)
    choices = torch.tensor([label for label in range(vocabulary) if label != blank])
    labels = choices[torch.randint(len(choices), (batch, max(LENGTHS)))]
    return logits, labels, torch.tensor(FRAMES), torch.tensor(LENGTHS)


def brute_force(logits, labels, blank):
    log_probs = logits.double().log_softmax(-1)
    losses = [enumerate_alignments(log_probs[n], labels[n], FRAMES[n], LENGTHS[n], blank) for n in range(len(FRAMES))]
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize("blank", [0, 5])
def test_equals_brute_force(blank):
    logits, labels, frames, lengths = example(blank)
    loss = rnnt_loss(logits, labels, frames, lengths, blank=blank)
    torch.testing.assert_close(loss.double(), brute_force(logits, labels, blank), rtol=1e-5, atol=1e-5)


def test_gradient_equals_finite_differences_of_brute_force():
    logits, labels, frames, lengths = example(5)
    logits.requires_grad_()
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])
    (weights * rnnt_loss(logits, labels, frames, lengths, blank=5)).sum().backward()
    generator = torch.Generator().manual_seed(2)
    for _ in range(30):
        place = tuple(int(torch.randint(size, (1,), generator=generator)) for size in logits.shape)
        up, down = logits.detach().double(), logits.detach().double().clone()
        up[place] += 1e-4
        down[place] -= 1e-4
        slope = (weights * (brute_force(up, labels, 5) - brute_force(down, labels, 5))).sum() / 2e-4
        assert logits.grad[place].item() == pytest.approx(slope.item(), abs=1e-5)


def test_torch_lattice_equals_numba_lattice():
    torch.manual_seed(3)
    blank, label = torch.randn(6, 30, 12) - 2, torch.randn(6, 30, 11) - 2
    frames, lengths = torch.tensor([30, 20, 30, 1, 5, 12]), torch.tensor([11, 5, 0, 3, 11, 11])
    for ours, theirs in zip(
        lattice_numba(blank, label, frames, lengths), lattice_torch(blank, label, frames, lengths), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_equals_cpu():
    logits, labels, frames, lengths = example(5)
    here, there = logits.clone().requires_grad_(), logits.cuda().requires_grad_()
    ours = rnnt_loss(here, labels, frames, lengths, blank=5)
    theirs = rnnt_loss(there, labels.cuda(), frames.cuda(), lengths.cuda(), blank=5)
    ours.sum().backward()
    theirs.sum().backward()
    torch.testing.assert_close(ours, theirs.cpu(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(here.grad, there.grad.cpu(), rtol=1e-4, atol=1e-5)


def test_fastemit_scales_label_arcs_only():
    logits, labels, frames, lengths = example(5)
    gradients = []
    for fastemit in (0.0, 1.0):
        copy = logits.clone().requires_grad_()
        loss = rnnt_loss(copy, labels, frames, lengths, blank=5, fastemit=fastemit)
        loss.sum().backward()
        gradients.append((loss.detach(), copy.grad))
    (plain, plain_grad), (fast, fast_grad) = gradients
    torch.testing.assert_close(plain, fast)
    extra = fast_grad - plain_grad
    torch.testing.assert_close(extra.sum(-1), torch.zeros_like(extra.sum(-1)), atol=1e-5, rtol=0)
    # The fourth utterance has no label, hence no label arc.
    assert extra[3].abs().max() == 0
    assert (extra[..., 5] >= -1e-7).all()  # blank is pushed down


@pytest.mark.parametrize(
    ("frames", "lengths", "message"),
    [
        ([5, 4, 3, 0, 1], LENGTHS, "frames are 0 to 5"),
        ([6, 4, 3, 1, 1], LENGTHS, "allowed are 1 to 5"),
        (FRAMES, [4, 2, 3, 0, 3], "label lengths reach 4"),
    ],
)
def test_refuses_impossible_lengths(frames, lengths, message):
    logits, labels, _, _ = example(5)
    with pytest.raises(ValueError, match=message):
        rnnt_loss(logits, labels, torch.tensor(frames), torch.tensor(lengths), blank=5)
