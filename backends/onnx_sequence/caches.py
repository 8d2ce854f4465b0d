"""The `state` section of a sequence model, kept outside Triton: one slot per sequence in preallocated arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_DTYPES: dict[str, type[np.generic]] = {
    "TYPE_FP32": np.float32,
    "TYPE_FP16": np.float16,
    "TYPE_INT64": np.int64,
    "TYPE_INT32": np.int32,
}
_FIRST_SLOTS = 8


@dataclass(frozen=True)
class StateTensor:
    """One entry of the `state` section, zero at the start of a sequence.

    Attributes:
        input_name: the graph's input that takes it.
        output_name: the graph's output with its next value.
        dtype: of both.
        shape: without the batch dimension, all fixed.
    """

    input_name: str
    output_name: str
    dtype: type[np.generic]
    shape: tuple[int, ...]


def parse_states(model_config: dict[str, Any]) -> list[StateTensor]:
    """Read `sequence_batching.state` of a parsed model configuration.

    Raises:
        ValueError: dimensions that are not fixed, an unknown data type, an initial state that is not zero.
    """
    entries = model_config.get("sequence_batching", {}).get("state", [])
    states = []
    for entry in entries:
        shape = tuple(int(size) for size in entry["dims"])
        if min(shape) < 1:
            raise ValueError(f"state {entry['input_name']!r}: dims are {shape}; every size must be fixed")
        if entry["data_type"] not in _DTYPES:
            raise ValueError(
                f"state {entry['input_name']!r}: data_type is {entry['data_type']}; allowed: {', '.join(_DTYPES)}"
            )
        initial = entry.get("initial_state", [])
        if len(initial) != 1 or not initial[0].get("zero_data"):
            raise ValueError(f"state {entry['input_name']!r}: initial_state must be one entry with zero_data: true")
        states.append(StateTensor(entry["input_name"], entry["output_name"], _DTYPES[entry["data_type"]], shape))
    return states


class CacheSlots:
    """Values of every state tensor of every live sequence, as arrays [slots, *shape].

    A sequence owns a slot from `acquire` to `release`; the arrays double when all slots are taken.
    """

    def __init__(self, states: list[StateTensor]) -> None:
        """Allocate the first few slots."""
        self._states = states
        self._arrays = [np.zeros((_FIRST_SLOTS, *state.shape), state.dtype) for state in states]
        self._free = list(range(_FIRST_SLOTS))

    @property
    def total(self) -> int:
        """How many slots there are."""
        return len(self._arrays[0])

    @property
    def used(self) -> int:
        """How many of them belong to a sequence."""
        return self.total - len(self._free)

    def acquire(self) -> int:
        """Take a slot, set to zero."""
        if not self._free:
            size = len(self._arrays[0])
            self._arrays = [np.concatenate([array, np.zeros_like(array)]) for array in self._arrays]
            self._free = list(range(size, 2 * size))
        slot = self._free.pop()
        for array in self._arrays:
            array[slot] = 0
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back."""
        self._free.append(slot)

    def gather(self, slots: list[int]) -> dict[str, Array]:
        """Return the graph's state inputs for those sequences, [len(slots), *shape] each; of a single one no copies."""
        chosen = slice(slots[0], slots[0] + 1) if len(slots) == 1 else slots
        return {state.input_name: array[chosen] for state, array in zip(self._states, self._arrays, strict=True)}

    def scatter(self, slots: list[int], outputs: dict[str, Array]) -> None:
        """Store the graph's next states, [len(slots), *shape] each, by output name."""
        for state, array in zip(self._states, self._arrays, strict=True):
            array[slots] = outputs[state.output_name]
