"""The simulated GPU finds the mistakes that a real one would be the first to find."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed here: make test-nemo")

from tests.backends.simulated_gpu import DEVICE, SimulatedGraph, simulated_gpu  # noqa: E402


@pytest.fixture
def captured():
    """What captures a function on a simulated GPU, and returns the replay."""
    with simulated_gpu() as gpu:

        def capture(run):
            graph = SimulatedGraph()
            with gpu.graph(graph):
                run()
            return graph.replay

        yield capture


def test_a_replay_computes_with_what_lies_in_the_inputs_now(captured):
    x, y = torch.ones(3, device=DEVICE), torch.zeros(3, device=DEVICE)
    replay = captured(lambda: y.copy_(2 * x.cumsum(0)[1:].sum() + x))
    assert y.device == DEVICE
    for value in (1.0, 5.0):
        x.copy_(torch.full((3,), value))
        replay()
        assert y.cpu().tolist() == [2 * 5 * value + value] * 3


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda x, _: x + torch.ones(3), "tensors on the host and on the device"),
        (lambda x, _: x.masked_select(x > 0), "its shape depends on values"),
        (lambda x, _: bool(x.sum() > 0), "between host and device, in what is being captured"),
        (lambda x, _: x.cpu(), "between host and device, in what is being captured"),
        (lambda x, _: x.copy_(torch.ones(3)), "between host and device, in what is being captured"),
        (lambda _, device: torch.ones(3).to(device), "brings something to the device"),
    ],
)
def test_what_cannot_be_captured(captured, mistake, message):
    x = torch.ones(3, device=DEVICE)
    with pytest.raises(AssertionError, match=message):
        captured(lambda: mistake(x, DEVICE))


def test_capturing_computes_nothing(captured):
    x = torch.zeros(3, device=DEVICE)
    replay = captured(lambda: x.add_(1).mul_(2))
    assert x.cpu().tolist() == [0, 0, 0]
    replay()
    replay()
    assert x.cpu().tolist() == [6, 6, 6]


def test_a_copy_has_arrived_when_somebody_has_waited():
    with simulated_gpu() as gpu:
        x, host = torch.ones(3, device=DEVICE), torch.zeros(3)
        host.copy_(x, non_blocking=True)
        assert host.tolist() == [0, 0, 0]
        gpu.synchronize()
        assert host.tolist() == [1, 1, 1]


def test_what_a_graph_allocated_is_gone_after_its_replay(captured):
    x, made = torch.ones(3, device=DEVICE), []
    replay = captured(lambda: made.append(x + 1))
    replay()
    assert made[0].isnan().all().cpu()
