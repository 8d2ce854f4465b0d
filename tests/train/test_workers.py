# ruff: noqa: E402 - imports follow the skips
import pytest

torch = pytest.importorskip("torch")

import os

from scripts.train.average import WeightAverage
from scripts.train.workers import Worker, joined


def average_in_process(rank, folder):
    """Each process brings other gradients; one has none for its second parameter."""
    with joined(rank, 2, folder) as worker:
        first, second = torch.zeros(3, requires_grad=True), torch.zeros(2, 2, requires_grad=True)
        first.grad = torch.full((3,), float(rank))
        if rank == 1:
            second.grad = torch.full((2, 2), 4.0)
        extra = worker.average([first, second], [10.0 * rank, 1.0])
        torch.save((first.grad, second.grad, extra), folder / f"{rank}.pt")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2 or torch.cuda.is_available(), reason="needs two cores, no GPU")
def test_two_processes_agree_on_the_mean(tmp_path):
    torch.multiprocessing.spawn(average_in_process, (tmp_path,), nprocs=2)
    for rank in range(2):
        first, second, extra = torch.load(tmp_path / f"{rank}.pt")
        assert first.tolist() == [0.5] * 3
        assert second.tolist() == [[2.0, 2.0], [2.0, 2.0]]
        assert extra == [5.0, 1.0]


def test_a_single_process_talks_to_nobody():
    worker = Worker(0, 1, torch.device("cpu"))
    parameter = torch.zeros(2, requires_grad=True)
    assert worker.average([parameter], [3.0]) == [3.0]
    assert parameter.grad is None


def test_more_processes_than_cores_are_refused(tmp_path):
    with pytest.raises(ValueError, match="processes is 1000, allowed is 1 to"), joined(0, 1000, tmp_path):
        pass


def test_weight_average_follows_and_swaps_back():
    module = torch.nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(0.0)
    average = WeightAverage(module, decay=0.9)
    module.weight.data.fill_(1.0)
    for _ in range(200):
        average.update()
    module.weight.data.fill_(5.0)
    with average.applied():
        assert module.weight.item() == pytest.approx(1.0, abs=1e-3)
    assert module.weight.item() == 5.0
    other = WeightAverage(module, decay=0.9)
    other.load(**average.state())
    with other.applied():
        assert module.weight.item() == pytest.approx(1.0, abs=1e-3)
