"""ONNX Runtime with IO binding: caches in a pool on the device, gathered and scattered inside the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from common.sequences import ServerBusy
from onnx_sequence.caches import Array, StateTensor
from onnx_sequence.providers import (
    Providers,
    engine_folder,
    find_providers,
    has_loops,
    is_half,
    provider_options,
    tensorrt_options,
)
from onnx_sequence.runner import Execution, Runner, run_once
from onnx_sequence.shape_ranges import ShapeRange
from onnx_sequence.slotted_graph import FRESH, SLOTS, next_pool_name, pool_name, with_slots


class BoundRunner:
    """See `Runner`."""

    def __init__(
        self,
        path: Path,
        execution: Execution,
        states: Sequence[StateTensor],
        *,
        slots: int,
        threads: int,
        ranges: Mapping[str, ShapeRange] | None = None,
    ) -> None:
        """Load the graph and allocate its caches.

        Args:
            path: the ONNX file.
            execution: where.
            states: of the model.
            slots: most live sequences.
            threads: of the processor's operators.
            ranges: shapes of inputs and states, which TensorRT needs; None for the others.

        Raises:
            ValueError: TensorRT shall run it, and there are no ranges.
            RuntimeError: there is no such GPU, or this ONNX Runtime cannot use it.
        """
        names = find_providers(execution)
        path = path.resolve()  # weights beside a large graph are not looked for behind a staged link
        model = onnx.load(path, load_external_data=False)
        self.input_names = [item.name for item in model.graph.input]
        self.output_names = [item.name for item in model.graph.output]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
        providers: Providers = [(name, provider_options(execution)) for name in names]
        if execution.device == "tensorrt":
            if has_loops(model.graph):
                providers = providers[1:]
            elif ranges is None:
                raise ValueError(f"{path}: TensorRT needs to know the shapes of its inputs")
            else:
                half, folder = is_half(model.graph), engine_folder(path)
                providers[0] = (names[0], tensorrt_options(execution, ranges, states, half=half, engines=folder))
        # With its fallback a provider that fails, now or in years, would be replaced by the processor without a word.
        self._session = onnxruntime.InferenceSession(
            with_slots(model, states).SerializeToString() if states else str(path),
            options,
            providers=providers,
            enable_fallback=0,
        )
        # What cannot be loaded is left out with a line on the terminal, and the processor takes its place.
        for provider, _ in providers:
            if provider not in self._session.get_providers():
                raise RuntimeError(
                    f"execution onnxruntime:{execution.device}:{execution.index}: {provider} could not be loaded; "
                    "is there such a GPU, with the CUDA, cuDNN and TensorRT that this onnxruntime wants?"
                )
        device = "cpu" if execution.device == "cpu" else "cuda"
        self._pools = {
            state: onnxruntime.OrtValue.ortvalue_from_numpy(
                np.zeros((slots, *state.shape), state.dtype), device, execution.index
            )
            for state in states
        }
        self._free = list(range(slots))
        self._total = slots
        self._fresh = np.zeros(slots, np.bool_)

    @property
    def total(self) -> int:
        """See `Runner`."""
        return self._total

    @property
    def used(self) -> int:
        """See `Runner`."""
        return self._total - len(self._free)

    def acquire(self) -> int:
        """See `Runner`. The slot counts as zero in its first step."""
        if not self._free:
            raise ServerBusy(f"server full: {self._total} cache slots are in use; try again later")
        slot = self._free.pop()
        self._fresh[slot] = True
        return slot

    def release(self, slot: int) -> None:
        """See `Runner`."""
        self._free.append(slot)

    def prepare(self, row: dict[str, Array], largest: int, output_names: Sequence[str]) -> None:
        """See `Runner`. A batch of streams is no larger than there are slots."""
        runner: Runner = self
        run_once(runner, row, (1, min(largest, self._total) if self._pools else largest), output_names)

    def run(self, inputs: dict[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """See `Runner`."""
        values = self._session.run(list(output_names), inputs)
        return dict(zip(output_names, values, strict=True))

    def advance(self, inputs: dict[str, Array], slots: list[int], output_names: Sequence[str]) -> dict[str, Array]:
        """See `Runner`."""
        binding = self._session.io_binding()
        rows = np.array(slots, np.int64)
        for name, array in {**inputs, SLOTS: rows[:, None], FRESH: self._fresh[rows]}.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name in output_names:
            binding.bind_output(name)
        for state, pool in self._pools.items():
            binding.bind_ortvalue_input(pool_name(state), pool)
            binding.bind_ortvalue_output(next_pool_name(state), pool)
        self._session.run_with_iobinding(binding)
        self._fresh[rows] = False
        values = binding.get_outputs()[: len(output_names)]
        return {name: value.numpy() for name, value in zip(output_names, values, strict=True)}
