"""An ONNX graph run by torch, on any device, with no exporter in between: the served file is the one source.

Why not `torch.export`: its files belong to a version of torch, carry a second copy of the weights, and can only be
made where NeMo is; a graph from elsewhere has none. Why not ONNX Runtime: its GPU build is another package, and CUDA
graphs need all addresses fixed, which gathered caches are not.

What torch runs are sizes and tensors: sizes, in the processor's memory, follow from the shapes of the inputs alone;
tensors are on the device. Nothing goes back from there in a run, and nothing goes there in the second run of a shape
(`uploads` counts), so such a run can be captured as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from onnx_sequence.torch_operators import HOST_INPUTS, OPERATORS, Operator

_CPU = torch.device("cpu")
# Sizes of as many bytes are kept on the device. Captured graphs read them there, so none is ever dropped for another;
# a model of utterances has new ones for every length, and brings them each time when this is full.
_KEPT_BYTES = 1 << 28


@dataclass(frozen=True)
class _Node:
    """One operator, its names, and the values that nobody reads after it."""

    name: str
    run: Operator
    host_inputs: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    done_with: tuple[str, ...]


class TorchGraph:
    """A graph whose weights are on a device."""

    def __init__(self, graph: onnx.GraphProto, device: torch.device, source: str) -> None:
        """Bring the weights to the device.

        Args:
            graph: without loops and branches.
            device: where to run it.
            source: where it comes from, for errors.

        Raises:
            ValueError: operators that torch does not run here, each with the name of a node.
        """
        self.device = device
        self.input_names = [item.name for item in graph.input]
        self.output_names = [item.name for item in graph.output]
        self._constants = {item.name: self._constant(numpy_helper.to_array(item)) for item in graph.initializer}
        self._nodes = _nodes(source, graph)
        self._half = _half_states(graph)
        self._uploaded: dict[tuple[torch.dtype, tuple[int, ...], bytes], Tensor] = {}
        self._kept_bytes = 0
        self.uploads = 0

    @staticmethod
    def load(path: Path, device: torch.device) -> TorchGraph:
        """Load the graph of a file. Raises ValueError as the constructor."""
        return TorchGraph(onnx.load(path.resolve()).graph, device, str(path))  # weights may lie beside it

    def stored_in_half(self, state_input: str, state_output: str) -> bool:
        """Whether a state loses nothing in FP16: the graph makes it from FP16 and reads it as FP16."""
        return state_input in self._half and state_output in self._half

    @torch.inference_mode()
    def __call__(self, inputs: Mapping[str, Tensor], output_names: Sequence[str]) -> dict[str, Tensor]:
        """Run the graph on tensors of its device.

        Raises:
            RuntimeError: an operator failed; the message has the node's name.
            torch.cuda.OutOfMemoryError: there is no memory.
        """
        values: dict[str, Any] = {**self._constants, **inputs, "": None}
        wanted = set(output_names)
        for node in self._nodes:
            given = [values[name] for name in node.inputs]
            try:
                result = node.run(self._together(given, node.host_inputs), node.attributes)
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:  # whatever torch raises
                raise RuntimeError(f"node {node.name!r}: {error}") from error
            if len(node.outputs) == 1:
                values[node.outputs[0]] = result
            else:
                values.update(zip(node.outputs, result, strict=True))
            for name in node.done_with:
                if name not in wanted:
                    del values[name]
        return {name: self._upload(values[name]) for name in output_names}

    def _constant(self, array: np.ndarray[Any, Any]) -> Tensor:
        """Weights live on the device, whole numbers and single numbers on the host: most of them are sizes."""
        tensor = torch.from_numpy(np.array(array))
        return tensor.to(self.device) if tensor.is_floating_point() and tensor.dim() else tensor

    def _together(self, given: list[Any], host_inputs: tuple[int, ...]) -> list[Any]:
        """Bring the inputs to the device if one is there, but for those that are sizes."""
        tensors = [x for i, x in enumerate(given) if x is not None and i not in host_inputs]
        if self.device == _CPU or all(x.device == _CPU for x in tensors):
            return given
        return [x if x is None or i in host_inputs else self._upload(x) for i, x in enumerate(given)]

    def _upload(self, x: Tensor) -> Tensor:
        """Return a tensor on the device. What came from the host once is kept: equal sizes have equal values."""
        if x.device == self.device or (self.device.index is None and x.device.type == self.device.type):
            return x
        key = (x.dtype, tuple(x.shape), x.numpy().tobytes())
        if key in self._uploaded:
            return self._uploaded[key]
        self.uploads += 1
        uploaded = x.to(self.device)
        if self._kept_bytes + uploaded.nbytes <= _KEPT_BYTES:
            self._kept_bytes += uploaded.nbytes
            self._uploaded[key] = uploaded
        return uploaded


def _nodes(source: str, graph: onnx.GraphProto) -> list[_Node]:
    unknown = {node.op_type: node.name for node in graph.node if node.op_type not in OPERATORS or node.domain}
    if unknown:
        found = ", ".join(f"{op_type} (node {name!r})" for op_type, name in unknown.items())
        raise ValueError(f"{source} has operators that torch does not run here: {found}; serve it with onnxruntime")
    last_use = {name: index for index, node in enumerate(graph.node) for name in (*node.output, *node.input) if name}
    kept = {item.name for item in graph.initializer} | {item.name for item in graph.input}
    # The place in a shape that a scalar index picks is a size, an index of rows is not.
    scalars = {item.name for item in graph.initializer if not item.dims}
    nodes = []
    for index, node in enumerate(graph.node):
        names = dict.fromkeys((*node.input, *node.output))
        attributes = {item.name: _attribute(item) for item in node.attribute}
        attributes["outputs"] = len(node.output)
        nodes.append(
            _Node(
                node.name,
                OPERATORS[node.op_type],
                (1,) if node.op_type == "Gather" and node.input[1] in scalars else HOST_INPUTS.get(node.op_type, ()),
                tuple(node.input),
                tuple(node.output),
                attributes,
                tuple(name for name in names if name and name not in kept and last_use[name] == index),
            )
        )
    return nodes


def _attribute(item: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(item)
    return torch.from_numpy(np.array(numpy_helper.to_array(value))) if isinstance(value, onnx.TensorProto) else value


def _half_states(graph: onnx.GraphProto) -> set[str]:
    """Return the inputs that are only read as FP16, and the outputs that were made from FP16."""
    inputs, outputs = {item.name for item in graph.input}, {item.name for item in graph.output}
    half, full = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    read_as_half = {name for node in graph.node if _casts_to(node, half) for name in node.input}
    read_otherwise = {name for node in graph.node if not _casts_to(node, half) for name in node.input}
    # In a graph of floats only FP16 is ever cast to FP32.
    made_of_half = {name for node in graph.node if _casts_to(node, full) for name in node.output}
    return (inputs & read_as_half - read_otherwise) | (outputs & made_of_half)


def _casts_to(node: onnx.NodeProto, dtype: int) -> bool:
    return node.op_type == "Cast" and any(item.name == "to" and item.i == dtype for item in node.attribute)
