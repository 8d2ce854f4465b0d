"""`decoder_greedy` run by torch: greedy search of a batch of chunks on the device, its rounds replayed as CUDA graphs.

The graph is a Loop with one round for each label of the row that has the most. Here the host goes round: it launches
what comes before the loop once, then a round, and reads one bit, whether any row goes on. Nothing else comes back
before the search is over. Rows that are done change nothing in further rounds, so shapes stay, and both launches are
captured at load: for batches of 1, 2, 4, … and the largest, and chunks of 8 frames and the longest. Smaller batches and
shorter chunks are filled up with rows and frames that ENCODED_LENGTH does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnx
import torch
from torch import Tensor

from common.sequences import ServerBusy
from onnx_sequence.caches import Array
from onnx_sequence.loop_parts import split_at_loop
from onnx_sequence.runner import Execution
from onnx_sequence.torch_capture import capture
from onnx_sequence.torch_device import ending_with_the_device, find_device
from onnx_sequence.torch_graph import TorchGraph

_FRAMES, _LENGTH = "ENCODED", "ENCODED_LENGTH"
# Frames of a chunk that most chunks have at most: 560 ms are seven.
_USUAL_FRAMES = 8
_Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class _Launches:
    """What is launched for so many rows and frames, and the tensors whose addresses stay."""

    rows: int
    frames: int
    start: Callable[[], None]
    go_round: Callable[[], None]
    inputs: _Tensors
    carried: _Tensors
    shared: _Tensors
    found: _Tensors
    go_on: Tensor


class TorchSearch:
    """See `Runner`. It has no states."""

    total = used = 0

    def __init__(self, path: Path, execution: Execution, *, threads: int) -> None:
        """Load the graph.

        Args:
            path: the ONNX file.
            execution: where.
            threads: of the processor's operators.

        Raises:
            RuntimeError: there is no such GPU.
            ValueError: it is no search, or has operators that torch does not run here.
        """
        torch.set_num_threads(threads)
        self._device = find_device(execution)
        self._on_gpu = self._device.type == "cuda"
        self._memory = None
        if self._on_gpu:
            self._memory = torch.cuda.graph_pool_handle()
        graph = onnx.load(path.resolve()).graph
        self.input_names = [item.name for item in graph.input]
        self.output_names = [item.name for item in graph.output]
        if not {_FRAMES, _LENGTH} <= set(self.input_names):
            raise ValueError(f"{path} has a loop; torch runs only that of decoder_greedy: serve it with onnxruntime")
        self._parts = split_at_loop(graph)
        self._before, self._round, self._after = (
            TorchGraph(part, self._device, str(path))
            for part in (self._parts.before, self._parts.round, self._parts.after)
        )
        self._launches: list[_Launches] = []

    def acquire(self) -> NoReturn:
        """There are no states. Raises ServerBusy."""
        raise ServerBusy("server full: a search has no cache slots")

    def release(self, slot: int) -> None:
        """Nothing: there are no states."""

    def advance(self, inputs: dict[str, Array], slots: list[int], output_names: Sequence[str]) -> NoReturn:  # noqa: ARG002
        """There are no states. Raises RuntimeError."""
        raise RuntimeError("a search has no cache slots")

    @torch.inference_mode()
    def prepare(self, row: dict[str, Array], largest: int, output_names: Sequence[str]) -> None:  # noqa: ARG002
        """See `Runner`. The frames of the row are the most that a search gets."""
        sizes = sorted({1 << power for power in range(largest.bit_length())} | {largest})
        longest = row[_FRAMES].shape[1]
        self._launches = [
            self._prepared(row, rows, frames)
            for frames in sorted({min(_USUAL_FRAMES, longest), longest})
            for rows in sizes
        ]

    def run(self, inputs: dict[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """See `Runner`."""
        with ending_with_the_device(self._device):
            outputs: dict[str, Array] = self._search(inputs, output_names)
        return outputs

    @torch.inference_mode()
    def _search(self, inputs: dict[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        rows, frames = inputs[_FRAMES].shape[:2]
        fitting = (item for item in self._launches if item.rows >= rows and item.frames >= frames)
        launches = next(fitting, None) or self._prepared(inputs, rows, frames, captured=False)
        for name, array in inputs.items():
            # A part of a batch must not keep what an earlier one left behind it.
            filled = np.zeros(launches.inputs[name].shape, array.dtype)
            filled[tuple(map(slice, array.shape))] = array
            launches.inputs[name].copy_(torch.from_numpy(filled))
        launches.start()
        found: dict[str, list[Tensor]] = {name: [] for name in self._parts.found}
        while True:
            launches.go_round()
            for name, values in found.items():
                values.append(launches.found[name].clone())
            if not bool(launches.go_on):
                break
        carried = [launches.carried[name].clone() for name in self._parts.carried_in]  # the next search reuses these
        results = [*carried, *(torch.stack(values) for values in found.values())]
        outputs = self._after(
            {**launches.shared, **dict(zip(self._parts.results, results, strict=True))}, list(output_names)
        )
        return {name: outputs[name][:rows].cpu().numpy() for name in output_names}

    def _prepared(self, row: dict[str, Array], rows: int, frames: int, *, captured: bool = True) -> _Launches:
        """Return the launches for a batch of rows that look like the first of `row`; captured where there is a GPU."""
        parts = self._parts
        inputs: _Tensors = {}
        for name, array in row.items():
            shape = (rows, frames, *array.shape[2:]) if name == _FRAMES else (rows, *array.shape[1:])
            inputs[name] = torch.zeros(shape, dtype=torch.from_numpy(array[:0]).dtype, device=self._device)
        first = self._before(inputs, [*parts.shared, *parts.first])
        shared = {name: first[name].clone() for name in parts.shared}
        carried = {name: first[source].clone() for name, source in zip(parts.carried_in, parts.first, strict=True)}
        wanted = [parts.go_on, *parts.carried_out, *parts.found]
        made = self._round({**shared, **carried}, wanted)
        found, go_on = {name: made[name].clone() for name in parts.found}, made[parts.go_on].clone()

        def start() -> None:
            values = self._before(inputs, [*parts.shared, *parts.first])
            for name, tensor in shared.items():
                tensor.copy_(values[name])
            for name, source in zip(parts.carried_in, parts.first, strict=True):
                carried[name].copy_(values[source])

        def go_round() -> None:
            values = self._round({**shared, **carried}, wanted)
            for before, after in zip(parts.carried_in, parts.carried_out, strict=True):
                carried[before].copy_(values[after])
            for name, tensor in found.items():
                tensor.copy_(values[name])
            go_on.copy_(values[parts.go_on])

        launches = start, go_round
        if captured and self._on_gpu:
            launches = (
                capture(start, self._before, self._memory),
                capture(go_round, self._round, self._memory),
            )
        return _Launches(rows, frames, *launches, inputs, carried, shared, found, go_on)
