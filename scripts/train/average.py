"""Exponential moving average of weights: what is evaluated and shipped."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Follows the parameters of a module; the horizon grows with the steps until `decay` is reached."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._live = list(module.parameters())
        self._decay, self._steps = decay, 0
        self._mean = [parameter.detach().clone() for parameter in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters after an optimiser step."""
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 10))
        torch._foreach_lerp_(self._mean, self._live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module carries the averaged weights inside this context."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for live, mean in zip(self._live, self._mean, strict=True):
            live.data, mean.data = mean.data, live.data

    def state(self) -> dict[str, int | list[Tensor]]:
        """For a checkpoint."""
        return {"steps": self._steps, "mean": self._mean}

    def load(self, steps: int, mean: list[Tensor]) -> None:
        """From a checkpoint."""
        self._steps = steps
        for target, source in zip(self._mean, mean, strict=True):
            target.copy_(source)
