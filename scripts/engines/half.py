"""A graph in FP16: weights, products and convolutions; what needs range or exact sums stays FP32."""

from __future__ import annotations

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from scripts.export.graph_files import is_large

# Normalisations and sums; and the operators behind LABEL_CONFIDENCE, whose powers underflow in FP16.
_FULL_PRECISION = [
    "LayerNormalization",
    "Softmax",
    "LogSoftmax",
    "ReduceMean",
    "ReduceMax",
    "ReduceSum",
    "Exp",
    "Range",
    "Sin",
    "Cos",
]
# Their angles are positions times frequencies: FP16 has no odd integers above 2048.
_OF_ANGLES = {"Sin", "Cos"}
# Larger constants are no sizes of other tensors.
_SIZES_BYTES = 1024


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with FP16 inside and the inputs, outputs and states that it has: casts stand at the edges.

    A graph that is too large for one file is changed itself.

    Raises:
        onnx.checker.ValidationError: the conversion made something that is no valid graph.
    """
    large = is_large(model)
    if large:  # changed in place: protobuf copies only what it could write
        copied = model
        copied.graph.value_info.extend(onnx.shape_inference.infer_shapes(_without_weights(model)).graph.value_info)
    else:
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
    converted = OnnxModel(
        convert_float_to_float16(
            copied,
            keep_io_types=True,
            disable_shape_infer=large,
            op_block_list=_FULL_PRECISION,
            node_block_list=_angles(copied.graph),
        )
    )
    _drop_repeated(converted.model.graph)
    converted.topological_sort()  # the casts of the inputs come last otherwise
    onnx.checker.check_model(converted.model, full_check=True)
    half: onnx.ModelProto = converted.model
    return half


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with weights that are elsewhere, small enough for shape inference, which does not read them."""
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    bare.graph.name = model.graph.name
    for field in ("node", "input", "output"):
        getattr(bare.graph, field).extend(getattr(model.graph, field))
    for item in model.graph.initializer:
        if len(item.raw_data) <= _SIZES_BYTES:
            bare.graph.initializer.append(item)
            continue
        weight = bare.graph.initializer.add(name=item.name, data_type=item.data_type, dims=item.dims)
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="elsewhere")
    return bare


def _angles(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes whose values, not only whose sizes, lead to a sine or cosine."""
    makers = {name: node for node in graph.node for name in node.output}
    waiting = [node for node in graph.node if node.op_type in _OF_ANGLES]
    found: dict[str, None] = {}
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found[node.name] = None
            if node.op_type != "Shape":
                waiting += [makers[name] for name in node.input if name in makers]
    return list(found)


def _drop_repeated(graph: onnx.GraphProto) -> None:
    """Remove a node that makes what an earlier one makes: the converter casts an input once for every FP32 reader."""
    seen: set[str] = set()
    kept = []
    for node in graph.node:
        if not seen.issuperset(node.output):
            kept.append(node)
        seen.update(node.output)
    del graph.node[:]
    graph.node.extend(kept)
