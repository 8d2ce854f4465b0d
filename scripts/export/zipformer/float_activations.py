"""An int8 encoder computed in floats: the same weights, activations as they are, ONNX Runtime's fastest convolutions.

Faster, and not what the file computes to the bit: `docs/zipformer.md` has what that changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

from scripts.export.zipformer.files import UnsupportedZipformerError
from scripts.export.zipformer.swoosh import shorten_swooshes
from scripts.export.zipformer.wiring import consumers_of, producers_of

_AXIS = "plane_axis"
Arrays = dict[str, npt.NDArray[Any]]


def float_activations(model: ModelProto) -> ModelProto:
    """Return a copy without quantisers: int8 weights times their scale; convolutions in planes, short activations.

    Raises:
        UnsupportedZipformerError: an integer product is not what ONNX Runtime's quantiser writes.
    """
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    nodes, weights = _without_quantisers(list(model.graph.node), constants)
    nodes, biases = shorten_swooshes(nodes, constants)
    nodes, planes = _in_planes(nodes, constants)
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    used = {name for node in nodes for name in node.input}
    kept = [item for item in graph.initializer if item.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    added = {**weights, **biases, **planes}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in added.items())
    return changed


def _without_quantisers(nodes: list[NodeProto], constants: Arrays) -> tuple[list[NodeProto], Arrays]:
    """Replace `Mul(Cast(MatMulInteger(quantised x, weights)), x's scale * weights' scale)` by `MatMul(x, weights)`."""
    producers, consumers = producers_of(nodes), consumers_of(nodes)
    gone: set[str] = set()
    products: dict[str, NodeProto] = {}
    weights: Arrays = {}
    for node in nodes:
        if node.op_type != "MatMulInteger":
            continue
        try:
            quantiser = producers[node.input[0]]
            (cast,) = consumers[node.output[0]]
            (scaled,) = consumers[cast.output[0]]
            (scale,) = (producers[name] for name in scaled.input if name != cast.output[0])
            (step,) = (constants[name] for name in scale.input if name != quantiser.output[1])
            whole = constants[node.input[1]].astype(np.float64)
            if len(node.input) > 3:
                whole = whole - constants[node.input[3]]
        except (KeyError, ValueError) as error:
            raise UnsupportedZipformerError(f"{node.name or node.output[0]}: an unknown way to quantise") from error
        kinds = (quantiser.op_type, cast.op_type, scaled.op_type, scale.op_type)
        if kinds != ("DynamicQuantizeLinear", "Cast", "Mul", "Mul"):
            raise UnsupportedZipformerError(f"{node.name or node.output[0]}: an unknown way to quantise: {kinds}")
        output = scaled.output[0]
        weights[f"{output}:weights"] = (whole * step).astype(np.float32)
        products[output] = helper.make_node("MatMul", [quantiser.input[0], f"{output}:weights"], [output], name=output)
        gone |= {quantiser.output[0], node.output[0], cast.output[0], scale.output[0]}
    return [products.get(node.output[0], node) for node in nodes if node.output[0] not in gone], weights


def _in_planes(nodes: list[NodeProto], constants: Arrays) -> tuple[list[NodeProto], Arrays]:
    """Make convolutions over time two-dimensional: only for those ONNX Runtime has blocked kernels."""
    written: list[NodeProto] = []
    added: Arrays = {}
    for node in nodes:
        weights = constants.get(node.input[1]) if node.op_type == "Conv" else None
        if weights is None or weights.ndim != 3:
            written.append(node)
            continue
        attributes: dict[str, Any] = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        lengths = [key for key in ("kernel_shape", "strides", "dilations") if key in attributes]
        flat: dict[str, Any] = {key: [1, *attributes[key]] for key in lengths}
        if "pads" in attributes:
            start, stop = attributes["pads"]
            flat["pads"] = [0, start, 0, stop]
        name, output = f"{node.input[1]}:plane", node.output[0]
        added |= {_AXIS: np.array([2]), name: weights[:, :, None]}
        plane = [f"{output}:in", name, *node.input[2:]]
        written += [
            helper.make_node("Unsqueeze", [node.input[0], _AXIS], plane[:1]),
            helper.make_node("Conv", plane, [f"{output}:out"], name=node.name, **{**attributes, **flat}),
            helper.make_node("Squeeze", [f"{output}:out", _AXIS], [output]),
        ]
    return written, added
