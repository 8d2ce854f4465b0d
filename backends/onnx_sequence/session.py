"""An ONNX Runtime session with its threads set on purpose, and requests grouped so that shapes agree."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

Array = npt.NDArray[Any]


class OnnxSession:
    """Runs one graph on the CPU."""

    def __init__(
        self, path: Path, *, intra_op_threads: int, allow_spinning: bool, fuse_quantisers: bool = True
    ) -> None:
        """Load the graph.

        Args:
            path: the ONNX file.
            intra_op_threads: threads of one run, the calling one included.
            allow_spinning: whether idle threads burn a core to start sooner; with several models on few cores
                they take it from each other.
            fuse_quantisers: whether quantisers and products become one operator; a graph in FP8 cannot be run so.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = intra_op_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if allow_spinning else "0")
        options.add_session_config_entry("session.disable_quant_qdq", "0" if fuse_quantisers else "1")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input_names = [item.name for item in self._session.get_inputs()]
        self.output_names = [item.name for item in self._session.get_outputs()]

    def run(self, inputs: dict[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """Run the graph; every array has the batch dimension first."""
        values = self._session.run(list(output_names), inputs)
        return dict(zip(output_names, values, strict=True))


def group_by_shape(requests: Sequence[dict[str, Array]]) -> list[list[int]]:
    """Return indices of requests whose inputs agree in every dimension but the batch one, first come first."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, inputs in enumerate(requests):
        key = tuple((name, inputs[name].shape[1:]) for name in sorted(inputs))
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def spread(group: list[int], runs: int, least: int) -> list[list[int]]:
    """Cut a group into at most `runs` parts of nearly the same size, as far as each has `least` members."""
    parts = max(1, min(runs, len(group) // least))
    bounds = [len(group) * part // parts for part in range(parts + 1)]
    return [group[start:stop] for start, stop in itertools.pairwise(bounds)]


def stack(requests: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """Join the inputs of several requests along the batch dimension."""
    if len(requests) == 1:
        return requests[0]
    return {name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]}


def split(outputs: dict[str, Array], rows: Sequence[int]) -> list[dict[str, Array]]:
    """Cut outputs along the batch dimension into parts of `rows` rows each."""
    if len(rows) == 1:
        return [outputs]
    edges = np.cumsum(rows)[:-1]
    parts = {name: np.split(array, edges) for name, array in outputs.items()}
    return [{name: parts[name][index] for name in outputs} for index in range(len(rows))]
