"""A graph run by torch, its caches in slots on the device, the usual steps replayed as CUDA graphs.

A step is: rows of the inputs to the device, `index_select` of the caches of their slots, the graph, `index_copy_` of
the next caches, rows of the outputs back. Captured once per batch size (1, 2, 4, … and the largest) in the shape of the
warm-up, which is that of nearly all requests, it is replayed as one launch. A batch between two sizes takes the next
larger graph; the rows that no stream has stand for the *spare* slot, which belongs to nobody: they are the exec mask.
Other shapes (END's longer window) run operator by operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.sequences import ServerBusy
from onnx_sequence.caches import Array, StateTensor
from onnx_sequence.runner import Execution
from onnx_sequence.torch_capture import capture
from onnx_sequence.torch_device import ending_with_the_device, find_device, tf32_products
from onnx_sequence.torch_graph import TorchGraph

_SLOTS = "slots"
_Shapes = tuple[tuple[str, tuple[int, ...]], ...]
_TYPES: dict[type[np.generic], torch.dtype] = {
    np.float32: torch.float32,
    np.float16: torch.float16,
    np.int64: torch.int64,
    np.int32: torch.int32,
}


class DeviceSlots:
    """Values of every state tensor of every live sequence, [slots + 1, *shape] on a device, allocated once.

    The last place is the spare slot, which no sequence owns.
    """

    def __init__(self, graph: TorchGraph, states: Sequence[StateTensor], slots: int) -> None:
        """Allocate all slots; states that lose nothing by it are kept in FP16. Raises RuntimeError without memory."""
        self._states = list(states)
        self.spare = slots
        self._free = list(range(slots))
        self._values = {}
        try:
            for state in states:
                half = graph.stored_in_half(state.input_name, state.output_name)
                dtype = torch.float16 if half else _TYPES[state.dtype]
                shape = (slots + 1, *state.shape)
                self._values[state.input_name] = torch.zeros(shape, dtype=dtype, device=graph.device)
        except torch.cuda.OutOfMemoryError as error:
            raise RuntimeError(
                f"no memory on {graph.device} for the caches of {slots} streams, which is twice "
                f"AMIRA_MAX_CONCURRENT_STREAMS and one: {error}"
            ) from error

    @property
    def total(self) -> int:
        """How many slots there are."""
        return self.spare

    @property
    def used(self) -> int:
        """How many of them belong to a sequence."""
        return self.spare - len(self._free)

    def acquire(self) -> int:
        """Take a slot, set to zero. Raises ServerBusy when there is none."""
        if not self._free:
            raise ServerBusy(f"server full: {self.total} cache slots are in use; try again later")
        slot = self._free.pop()
        for value in self._values.values():
            value[slot].zero_()
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back."""
        self._free.append(slot)

    def gather(self, slots: Tensor) -> dict[str, Tensor]:
        """Return the graph's state inputs for slots [B] int64, [B, *shape] each."""
        return {name: value.index_select(0, slots) for name, value in self._values.items()}

    def scatter(self, slots: Tensor, outputs: dict[str, Tensor]) -> None:
        """Store the graph's next states, by output name. Only the spare slot may come twice."""
        for state in self._states:
            value = self._values[state.input_name]
            value.index_copy_(0, slots, outputs[state.output_name].to(value.dtype))


@dataclass(frozen=True)
class _Step:
    """One launch for so many rows, and what it reads and writes, at addresses that stay.

    `staged` are the same tensors in the host's memory, pinned where that is a GPU's.
    """

    rows: int
    launch: Callable[[], None]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    staged: dict[str, Tensor]


class TorchRunner:
    """See `Runner`."""

    def __init__(
        self, path: Path, execution: Execution, states: Sequence[StateTensor], *, slots: int, threads: int
    ) -> None:
        """Load the graph and allocate its caches.

        Args:
            path: the ONNX file.
            execution: where.
            states: of the model.
            slots: most live sequences.
            threads: of the processor's operators.

        Raises:
            RuntimeError: there is no such GPU, or not enough memory on it.
            ValueError: the graph has operators that torch does not run here.
        """
        torch.set_num_threads(threads)
        self._device = find_device(execution)
        self._on_gpu = self._device.type == "cuda"
        if self._on_gpu:
            self._memory = torch.cuda.graph_pool_handle()
        self._graph = TorchGraph.load(path, self._device)
        self.slots = DeviceSlots(self._graph, states, slots)
        self._state_outputs = [state.output_name for state in states]
        self.input_names, self.output_names = self._graph.input_names, self._graph.output_names
        self.acquire, self.release = self.slots.acquire, self.slots.release
        self._steps: dict[_Shapes, list[_Step]] = {}

    @property
    def total(self) -> int:
        """See `Runner`."""
        return self.slots.total

    @property
    def used(self) -> int:
        """See `Runner`."""
        return self.slots.used

    def prepare(self, row: dict[str, Array], largest: int, output_names: Sequence[str]) -> None:
        """See `Runner`: capture the step in this shape, the largest batch first, whose memory the others share."""
        sizes = sorted({1 << power for power in range(largest.bit_length())} | {largest})
        try:
            self._steps[_shapes(row)] = [self._capture(row, rows, output_names) for rows in reversed(sizes)][::-1]
        except torch.cuda.OutOfMemoryError as error:
            raise RuntimeError(
                f"no memory on {self._device} for a batch of {largest}, which is AMIRA_MAX_BATCH_SIZE: {error}"
            ) from error

    def run(self, inputs: dict[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """See `Runner`."""
        with ending_with_the_device(self._device):
            outputs: dict[str, Array] = self._execute(inputs, None, output_names)
        return outputs

    def advance(self, inputs: dict[str, Array], slots: list[int], output_names: Sequence[str]) -> dict[str, Array]:
        """See `Runner`."""
        with ending_with_the_device(self._device):
            outputs: dict[str, Array] = self._execute(inputs, slots, output_names)
        return outputs

    @torch.inference_mode()
    def _execute(
        self, inputs: dict[str, Array], slots: list[int] | None, output_names: Sequence[str]
    ) -> dict[str, Array]:
        rows = len(next(iter(inputs.values())))
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}
        if slots is not None:
            tensors[_SLOTS] = torch.tensor(slots)
        step = next((step for step in self._steps.get(_shapes(inputs), []) if step.rows >= rows), None)
        if step is None:
            outputs = self._compute({name: x.to(self._device) for name, x in tensors.items()}, output_names)
            return {name: x.cpu().numpy() for name, x in outputs.items()}
        for name, x in tensors.items():
            step.staged[name][:rows] = x
        if slots is not None:
            step.staged[_SLOTS][rows:] = self.slots.spare
        for name in tensors:
            step.inputs[name].copy_(step.staged[name], non_blocking=True)
        step.launch()
        for name in output_names:
            step.staged[name].copy_(step.outputs[name], non_blocking=True)
        if self._on_gpu:
            torch.cuda.current_stream(self._device).synchronize()
        return {name: step.staged[name][:rows].numpy().copy() for name in output_names}

    def _compute(self, tensors: dict[str, Tensor], output_names: Sequence[str]) -> dict[str, Tensor]:
        """Run the graph on the device, with the caches of the slots where there are any."""
        inputs = dict(tensors)
        slots = inputs.pop(_SLOTS, None)
        with tf32_products(self._device):
            if slots is None:
                answered: dict[str, Tensor] = self._graph(inputs, output_names)
                return answered
            outputs = self._graph({**inputs, **self.slots.gather(slots)}, [*output_names, *self._state_outputs])
        self.slots.scatter(slots, outputs)
        return {name: outputs[name] for name in output_names}

    @torch.inference_mode()
    def _capture(self, row: dict[str, Array], rows: int, output_names: Sequence[str]) -> _Step:
        inputs = {
            name: torch.from_numpy(np.repeat(array, rows, axis=0)).to(self._device) for name, array in row.items()
        }
        if self._state_outputs:
            inputs[_SLOTS] = torch.full((rows,), self.slots.spare, device=self._device)
        # Chooses kernels, and brings sizes to the device. What is returned may be an input or a constant, or a view.
        outputs = {name: x.clone() for name, x in self._compute(inputs, output_names).items()}

        def launch() -> None:
            for name, x in self._compute(inputs, output_names).items():
                outputs[name].copy_(x)

        if self._on_gpu:
            launch = capture(launch, self._graph, self._memory)
        staged = {
            name: torch.empty(x.shape, dtype=x.dtype, pin_memory=self._on_gpu)
            for name, x in {**inputs, **outputs}.items()
        }
        for name, x in inputs.items():
            staged[name].copy_(x)
        return _Step(rows, launch, inputs, outputs, staged)


def _shapes(inputs: dict[str, Array]) -> _Shapes:
    return tuple((name, inputs[name].shape[1:]) for name in sorted(inputs))
