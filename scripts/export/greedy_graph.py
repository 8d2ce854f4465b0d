"""Greedy search over a whole chunk as one graph: `decoder_joint` as the body of an ONNX `Loop`.

Label-looping (Bataev et al., arXiv 2406.06220) as `backends/rnnt_decoder/greedy.py` does it, one round of the loop for
one label of each row. What a round costs outside of the graph, above all a call of another model, is paid once a chunk.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper

_INT64, _INT32, _FLOAT, _BOOL = TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT, TensorProto.BOOL
_ALPHA = 0.33  # as in backends/rnnt_decoder/confidence.py
# Of the wrapped graph. Its LABEL_CONFIDENCE is computed anew, for the chosen frame alone.
_J = "joint/"
_CARRIED = (f"{_J}TARGET", f"{_J}STATE_H", f"{_J}STATE_C")
_ASKED = tuple(_J + name for name in ("LABEL", "LABEL_LOG_PROB", "LOG_PROBS", "STATE_H_NEXT", "STATE_C_NEXT"))


def save_greedy_graph(decoder_joint: Path, path: Path) -> None:
    """Write `decoder_greedy` of the file of a `decoder_joint`. Raises ValueError as `greedy_graph`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(greedy_graph(onnx.load(decoder_joint)), path)


def greedy_graph(decoder_joint: ModelProto) -> ModelProto:
    """Wrap a `decoder_joint`; the weights are the same.

    Inputs are those of `decoder_joint`, with one frame or more, and ENCODED_LENGTH [B, 1] int64, valid frames;
    MAX_SYMBOLS [B, 1] int32, most labels on one frame.

    Outputs: LABEL [B, N] int32, the label of each round, the blank where the row had none any more; FRAME [B, N] int64,
    LABEL_LOG_PROB and LABEL_CONFIDENCE [B, N] float32 of it; STATE_H_NEXT and STATE_C_NEXT, before the last label.
    N is how many rounds the row with the most labels takes, at least one.

    Raises:
        ValueError: it predicts durations (TDT).
    """
    inputs = {item.name: item for item in decoder_joint.graph.input}
    outputs = {item.name: item for item in decoder_joint.graph.output}
    if "DURATION" in outputs:
        raise ValueError("decoder_greedy is for transducers without durations")
    joint = compose.add_prefix(decoder_joint, _J).graph
    before, every_round = _split(joint)
    info, state = helper.make_tensor_value_info, {item.name: item for item in joint.input}
    body = helper.make_graph(
        [*every_round, *_choose()],
        "round",
        [
            info("round", _INT64, []),
            info("go", _BOOL, []),
            info("frame", _INT64, ["B", 1]),
            info("symbols", _INT32, ["B", 1]),
            *(state[name] for name in _CARRIED),
        ],
        [
            info("go_on", _BOOL, []),
            info("frame_next", _INT64, ["B", 1]),
            info("symbols_next", _INT32, ["B", 1]),
            info("target_next", _INT32, ["B", 1]),
            info("state_h_next", _FLOAT, None),
            info("state_c_next", _FLOAT, None),
            info("label", _INT32, ["B", 1]),
            info("at", _INT64, ["B", 1]),
            info("log_prob", _FLOAT, ["B", 1]),
            info("confidence", _FLOAT, ["B", 1]),
        ],
    )
    loop = helper.make_node(
        "Loop",
        ["", "", "zeros", "no_symbols", "TARGET", "STATE_H", "STATE_C"],
        ["f", "s", "t", "STATE_H_NEXT", "STATE_C_NEXT", "labels", "frames", "log_probs", "confidences"],
        body=body,
    )
    graph = helper.make_graph(
        [helper.make_node("Identity", ["ENCODED"], [f"{_J}ENCODED"]), *before, *_prepare(), loop, *_finish()],
        "decoder_greedy",
        [
            inputs["ENCODED"],
            info("ENCODED_LENGTH", _INT64, ["B", 1]),
            info("MAX_SYMBOLS", _INT32, ["B", 1]),
            *(inputs[name] for name in ("TARGET", "STATE_H", "STATE_C")),
        ],
        [
            info("LABEL", _INT32, ["B", "N"]),
            info("FRAME", _INT64, ["B", "N"]),
            info("LABEL_LOG_PROB", _FLOAT, ["B", "N"]),
            info("LABEL_CONFIDENCE", _FLOAT, ["B", "N"]),
            outputs["STATE_H_NEXT"],
            outputs["STATE_C_NEXT"],
        ],
        initializer=[*joint.initializer, *_constants(outputs["LOG_PROBS"].type.tensor_type.shape.dim[2].dim_value)],
    )
    model = helper.make_model(
        graph, opset_imports=decoder_joint.opset_import, ir_version=decoder_joint.ir_version, producer_name=""
    )
    onnx.checker.check_model(model)
    return model


def _split(graph: onnx.GraphProto) -> tuple[list[NodeProto], list[NodeProto]]:
    """Return the nodes that no round changes, and those of every round, without those that nobody asks for."""
    needed = set(_ASKED)
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.insert(0, node)
    changing = set(_CARRIED)
    before, every_round = [], []
    for node in kept:
        if changing & set(node.input):
            changing |= set(node.output)
            every_round.append(node)
        else:
            before.append(node)
    return before, every_round


def _prepare() -> list[NodeProto]:
    """Where the frames are, and the values before the first round."""
    node = helper.make_node
    return [
        node("Shape", ["ENCODED"], ["shape"]),
        node("Gather", ["shape", "one_scalar"], ["frames_count"]),
        node("Range", ["zero_scalar", "frames_count", "one_scalar"], ["positions"]),
        node("Sub", ["ENCODED_LENGTH", "ENCODED_LENGTH"], ["zeros"]),
        node("Cast", ["zeros"], ["no_symbols"], to=_INT32),
    ]


def _choose() -> list[NodeProto]:
    """After the joint: the first frame of each row that is not blank, and where the row goes on."""
    node = helper.make_node
    return [
        node("GreaterOrEqual", ["positions", "frame"], ["not_before"]),
        node("Less", ["positions", "ENCODED_LENGTH"], ["not_behind"]),
        node("Equal", [f"{_J}LABEL", "blank"], ["silent"]),
        node("Not", ["silent"], ["not_blank"]),
        node("And", ["not_before", "not_behind"], ["valid"]),
        node("And", ["valid", "not_blank"], ["speaks"]),
        node("Cast", ["speaks"], ["speaks_number"], to=_INT32),
        node("ArgMax", ["speaks_number"], ["at"], axis=1, keepdims=1),
        node("GatherElements", ["speaks", "at"], ["emits"], axis=1),
        node("GatherElements", [f"{_J}LABEL", "at"], ["found"], axis=1),
        node("Where", ["emits", "found", "blank"], ["label"]),
        node("GatherElements", [f"{_J}LABEL_LOG_PROB", "at"], ["log_prob"], axis=1),
        # The confidence, as `backends/rnnt_decoder/confidence.py` has it.
        node("Unsqueeze", ["at", "two"], ["at_3"]),
        node("Expand", ["at_3", "row"], ["at_row"]),
        node("GatherElements", [f"{_J}LOG_PROBS", "at_row"], ["distribution"], axis=1),
        node("Mul", ["distribution", "alpha"], ["scaled"]),
        node("Exp", ["scaled"], ["powers"]),
        node("ReduceSum", ["powers", "two"], ["sum"], keepdims=0),
        node("Sub", ["unit", "sum"], ["difference"]),
        node("Div", ["difference", "rest"], ["entropy"]),
        node("Exp", ["entropy"], ["certainty"]),
        node("Sub", ["certainty", "least"], ["above"]),
        node("Div", ["above", "range"], ["confidence"]),
        # What the next round begins with.
        node("Equal", ["at", "frame"], ["same_frame"]),
        node("Where", ["same_frame", "symbols", "none"], ["symbols_here"]),
        node("Add", ["symbols_here", "once"], ["symbols_now"]),
        node("GreaterOrEqual", ["symbols_now", "MAX_SYMBOLS"], ["full"]),
        node("Where", ["full", "none", "symbols_now"], ["symbols_next"]),
        node("Cast", ["full"], ["step"], to=_INT64),
        node("Add", ["at", "step"], ["after"]),
        node("Where", ["emits", "after", "ENCODED_LENGTH"], ["frame_next"]),
        node("Where", ["emits", "found", f"{_J}TARGET"], ["target_next"]),
        node("Unsqueeze", ["emits", "two"], ["emits_3"]),
        node("Where", ["emits_3", f"{_J}STATE_H_NEXT", f"{_J}STATE_H"], ["state_h_next"]),
        node("Where", ["emits_3", f"{_J}STATE_C_NEXT", f"{_J}STATE_C"], ["state_c_next"]),
        node("Sub", ["ENCODED_LENGTH", "frame_next"], ["left"]),
        node("ReduceMax", ["left"], ["most_left"], keepdims=0),
        node("Greater", ["most_left", "zero_scalar"], ["go_on"]),
    ]


def _finish() -> list[NodeProto]:
    """[N, B, 1] of all rounds -> [B, N]."""
    nodes = []
    for source, target in (
        ("labels", "LABEL"),
        ("frames", "FRAME"),
        ("log_probs", "LABEL_LOG_PROB"),
        ("confidences", "LABEL_CONFIDENCE"),
    ):
        nodes += [
            helper.make_node("Squeeze", [source, "two"], [f"{source}_flat"]),
            helper.make_node("Transpose", [f"{source}_flat"], [target], perm=[1, 0]),
        ]
    return nodes


def _constants(labels: int) -> list[TensorProto]:
    least = math.exp((1 - labels ** (1 - _ALPHA)) / (1 - _ALPHA))
    values = {
        "zero_scalar": np.int64(0),
        "one_scalar": np.int64(1),
        "two": np.array([2], np.int64),
        "row": np.array([1, 1, labels], np.int64),
        "blank": np.int32(labels - 1),
        "none": np.int32(0),
        "once": np.int32(1),
        "alpha": np.float32(_ALPHA),
        "unit": np.float32(1),
        "rest": np.float32(1 - _ALPHA),
        "least": np.float32(least),
        "range": np.float32(1 - least),
    }
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
