"""A torch module as an ONNX file: named tensors, dynamic sizes, simplified, the same bytes every time."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxslim
import torch
from torch import Tensor, nn

from scripts.export.graph_files import is_large, save_graph

OPSET = 17  # the first with LayerNormalization

# Sizes of a tensor: a number, or the name of a dynamic one.
Shape = tuple[int | str, ...]

# Constants up to here may be folded in a large graph.
_SMALL_BYTES = 100_000

# Operators that stop a graph from being one fixed sequence of kernels.
_CONTROL_FLOW = {"If", "Loop", "Scan"}


@dataclass(frozen=True)
class GraphInput:
    """An example to trace with, and the shape that the graph shall accept."""

    example: Tensor
    shape: Shape


def export_graph(
    module: nn.Module, path: Path, *, inputs: Mapping[str, GraphInput], outputs: Mapping[str, Shape]
) -> None:
    """Trace a module into an ONNX file.

    Args:
        module: takes the inputs by position and returns the outputs as a tuple.
        path: file to write; its folder is made.
        inputs: every input, in order.
        outputs: shape of every output, in order.

    Raises:
        ValueError: the graph has control flow.
    """
    shapes = {**{name: value.shape for name, value in inputs.items()}, **outputs}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        traced = Path(folder) / "traced.onnx"
        warnings.simplefilter("ignore")  # the tracer warns of every size that becomes part of the graph
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            module.eval(),
            tuple(value.example for value in inputs.values()),
            str(traced),  # of a Path it does not see that it may write weights beside it, as it must above 2 GB
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: _dynamic(shape) for name, shape in shapes.items()},
            opset_version=OPSET,
            dynamo=False,  # the other exporter guards the sizes that the caches are cut by
        )
        model = _slim(onnx.load(traced))
    _declare_shapes(model, outputs)
    _forget_machine(model)
    _refuse_control_flow(model)
    save_graph(model, path)
    onnx.checker.check_model(str(path), full_check=True)  # by its path: it may be larger than a protobuf


def _slim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Simplify a graph. Of a large one the weights are inputs meanwhile: onnxslim cannot measure them."""
    if not is_large(model):
        slimmed: onnx.ModelProto = onnxslim.slim(model)
        return slimmed
    weights = [item for item in model.graph.initializer if len(item.raw_data) > _SMALL_BYTES]
    others = [item for item in model.graph.initializer if len(item.raw_data) <= _SMALL_BYTES]
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    bare.graph.name = model.graph.name
    bare.graph.node.extend(model.graph.node)
    bare.graph.initializer.extend(others)
    bare.graph.output.extend(model.graph.output)
    bare.graph.input.extend(model.graph.input)
    bare.graph.input.extend(onnx.helper.make_tensor_value_info(x.name, x.data_type, x.dims) for x in weights)
    slimmed = onnxslim.slim(bare)
    names = {item.name for item in weights}
    inputs = [item for item in slimmed.graph.input if item.name not in names]
    used = {name for node in slimmed.graph.node for name in node.input}
    del slimmed.graph.input[:]
    slimmed.graph.input.extend(inputs)
    slimmed.graph.initializer.extend(item for item in weights if item.name in used)
    return slimmed


def _dynamic(shape: Shape) -> dict[int, str]:
    return {axis: size for axis, size in enumerate(shape) if isinstance(size, str)}


def _declare_shapes(model: onnx.ModelProto, outputs: Mapping[str, Shape]) -> None:
    """Write the output shapes that the tracer could not infer: fixed sizes out of dynamic cuts."""
    for output in model.graph.output:
        dims = output.type.tensor_type.shape.dim
        for dim, size in zip(dims, outputs[output.name], strict=True):
            dim.Clear()
            if isinstance(size, str):
                dim.dim_param = size
            else:
                dim.dim_value = size


def _forget_machine(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes about this machine: source paths and documentation strings."""
    del model.graph.value_info[:], model.metadata_props[:], model.graph.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]


def _refuse_control_flow(model: onnx.ModelProto) -> None:
    found = _CONTROL_FLOW & {node.op_type for node in model.graph.node}
    if found:
        raise ValueError(f"the exported graph has control flow: {', '.join(sorted(found))}")
