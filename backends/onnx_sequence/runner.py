"""Who runs a model's graph, and where its caches lie: chosen once, at load, by the parameter `execution`.

* ``cpu``: ONNX Runtime on the processor, caches in NumPy arrays. The default.
* ``onnxruntime:cuda``: ONNX Runtime's provider for NVIDIA GPUs with IO binding, caches on the device.
* ``onnxruntime:tensorrt``: the same, with its provider for TensorRT in front; engines are built at the first start.
* ``torch:cuda``: the same graph as torch operators, replayed as CUDA graphs, caches on the device.
* ``onnxruntime:cpu``, ``torch:cpu``: those two ways on the processor, to try and to test them.

``:1`` and so on after it choose another GPU than the first. What is asked for and is not there is an error.

A sequence owns one cache slot, whoever runs the graph. `SequenceTable` is the one owner: it takes the slot on START
(`acquire`, which zeroes it) and gives it back, exactly once, on END, on the next START of the same ID, after the END
that follows an error, and by age (`release`). A step gathers the caches of its slots, runs the graph, and scatters
what comes out; slots that are not named in it are not touched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnx_sequence.caches import Array, CacheSlots, StateTensor
from onnx_sequence.session import OnnxSession

_EXECUTION = re.compile(
    r"(?P<engine>onnxruntime|torch):(?P<device>cpu|cuda|(?<=onnxruntime:)tensorrt)(:(?P<index>\d+))?"
)
CPU = "cpu"


class Runner(Protocol):
    """A graph and the caches of its live sequences. Arrays have the batch dimension first."""

    input_names: list[str]
    output_names: list[str]

    @property
    def total(self) -> int:
        """How many cache slots there are."""

    @property
    def used(self) -> int:
        """How many of them belong to a sequence."""

    def acquire(self) -> int:
        """Take a slot, set to zero. Raises ServerBusy when all are taken and there can be no more."""

    def release(self, slot: int) -> None:
        """Give a slot back."""

    def run(self, inputs: dict[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """Run a graph without states."""

    def advance(self, inputs: dict[str, Array], slots: list[int], output_names: Sequence[str]) -> dict[str, Array]:
        """Run one step of the sequences in `slots`, a row of the inputs each, and keep their next caches."""

    def prepare(self, row: dict[str, Array], largest: int, output_names: Sequence[str]) -> None:
        """Run the shape of most requests before anybody asks: one row of zeros, for batches of up to `largest`."""


@dataclass(frozen=True)
class Execution:
    """The parameter `execution`, read.

    Attributes:
        engine: "onnxruntime" or "torch".
        device: "cpu", "cuda" or "tensorrt".
        index: which GPU.
        plain: the default, caches in NumPy arrays.
    """

    engine: str
    device: str
    index: int = 0
    plain: bool = False

    @staticmethod
    def parse(text: str) -> Execution:
        """Read the parameter. Raises ValueError for what is none."""
        if text == CPU:
            return Execution("onnxruntime", "cpu", plain=True)
        match = _EXECUTION.fullmatch(text)
        if match is None:
            raise ValueError(
                f"execution is {text!r}; allowed: cpu, torch:cuda, onnxruntime:cuda, onnxruntime:tensorrt, torch:cpu, "
                "onnxruntime:cpu, and another GPU than the first as in torch:cuda:1"
            )
        return Execution(match["engine"], match["device"], int(match["index"] or 0))


class CpuRunner:
    """ONNX Runtime on the processor; caches in NumPy arrays that grow when all slots are taken."""

    def __init__(self, session: OnnxSession, states: Sequence[StateTensor]) -> None:
        """Take a session, and make slots for the states."""
        self._session = session
        self._slots = CacheSlots(list(states))
        self._state_outputs = [state.output_name for state in states]
        self.input_names, self.output_names = session.input_names, session.output_names
        self.acquire, self.release, self.run = self._slots.acquire, self._slots.release, session.run

    @property
    def total(self) -> int:
        """See `Runner`."""
        return self._slots.total

    @property
    def used(self) -> int:
        """See `Runner`."""
        return self._slots.used

    def advance(self, inputs: dict[str, Array], slots: list[int], output_names: Sequence[str]) -> dict[str, Array]:
        """See `Runner`."""
        outputs = self._session.run({**inputs, **self._slots.gather(slots)}, [*output_names, *self._state_outputs])
        self._slots.scatter(slots, outputs)
        return {name: outputs[name] for name in output_names}

    def prepare(self, row: dict[str, Array], largest: int, output_names: Sequence[str]) -> None:
        """See `Runner`."""
        run_once(self, row, (1, largest), output_names)


def run_once(runner: Runner, row: dict[str, Array], batches: Sequence[int], output_names: Sequence[str]) -> None:
    """Run batches of one row, whose states are zero."""
    with_states = set(runner.input_names) != set(row)
    for rows in batches:
        inputs = {name: np.repeat(array, rows, axis=0) for name, array in row.items()}
        if not with_states:
            runner.run(inputs, output_names)
            continue
        slots = [runner.acquire() for _ in range(rows)]
        runner.advance(inputs, slots, output_names)
        for slot in slots:
            runner.release(slot)
