"""Data-parallel training: one process per core over gloo, or one per GPU over nccl, or a single process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Worker:
    """One of the processes that train together."""

    rank: int
    processes: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process logs, evaluates and saves."""
        return self.rank == 0

    @torch.no_grad()
    def average(self, parameters: list[Tensor], extra: list[float]) -> list[float]:
        """Average the gradients of `parameters` over all processes, in place, in one message with `extra`.

        Returns:
            the averages of `extra`, the same in every process.
        """
        if self.processes == 1:
            return extra
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        message = torch.cat([*(gradient.flatten() for gradient in gradients), gradients[0].new_tensor(extra)])
        distributed.all_reduce(message)
        message /= self.processes
        offset = 0
        for gradient in gradients:
            gradient.copy_(message[offset : offset + gradient.numel()].view_as(gradient))
            offset += gradient.numel()
        return [float(value) for value in message[offset:]]


@contextmanager
def joined(rank: int, processes: int, folder: Path) -> Iterator[Worker]:
    """Set up this process: its device, one torch thread, and the connection to the others while the context lasts.

    Several busy threads spin at barriers and fall to a tenth of the speed, so each process has one and its own core.
    A process that ends without leaving the group may abort, as gloo's threads still run then.

    Raises:
        ValueError: more processes than GPUs, or than cores where there is no GPU.
    """
    torch.set_num_threads(1)
    on_gpu = torch.cuda.is_available()
    cores = sorted(os.sched_getaffinity(0))
    available = torch.cuda.device_count() if on_gpu else len(cores)
    if not 1 <= processes <= available:
        raise ValueError(
            f"processes is {processes}, allowed is 1 to {available}, one per {'GPU' if on_gpu else 'core'}"
        )
    if on_gpu:
        torch.cuda.set_device(rank)
        torch.backends.cuda.matmul.allow_tf32 = True
    elif processes > 1:
        os.sched_setaffinity(0, {cores[rank]})
    if processes > 1:
        backend = "nccl" if on_gpu else "gloo"
        meeting = f"file://{(folder / 'rendezvous').resolve()}"
        distributed.init_process_group(backend, init_method=meeting, rank=rank, world_size=processes)
    try:
        yield Worker(rank, processes, torch.device("cuda", rank) if on_gpu else torch.device("cpu"))
    finally:
        if processes > 1:
            distributed.destroy_process_group()
