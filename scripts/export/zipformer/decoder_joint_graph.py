"""The stateless prediction network and the joiner of sherpa-onnx as our one `decoder_joint`.

The state of a stateless network is the labels it saw before TARGET: STATE_H holds each of them plus one, so that the
zeros of a new sequence mean -1, no label, as in sherpa-onnx. STATE_C is passed through. Labels are those of the
original but one lower, and the blank, 0 there, is the last one. sherpa-onnx never emits `<unk>`: where that is the best
label it moves on as after a blank, so here the blank has the larger probability of the two and `<unk>` none.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper

from scripts.export.zipformer.files import UnsupportedZipformerError, metadata, quantises_activations, sizes

_INT64 = TensorProto.INT64
_NEVER = -1e4  # a log-probability whose exponential is 0, and finite
_ALPHA = 0.33  # as in backends/rnnt_decoder/confidence.py


def context_size(decoder: ModelProto) -> int:
    """Return how many labels the prediction network sees."""
    return int(metadata(decoder)["context_size"])


def vocabulary_size(decoder: ModelProto) -> int:
    """Return the number of labels, the blank counted."""
    return int(metadata(decoder)["vocab_size"])


def decoder_joint(decoder: ModelProto, joiner: ModelProto, unknown: int | None) -> ModelProto:
    """Merge prediction network and joiner; inputs and outputs are those of docs/architecture.md.

    Args:
        decoder: y [N, context] int64 -> [N, dim].
        joiner: encoder frame [N, dim], prediction [N, dim] -> logits [N, labels].
        unknown: original id of `<unk>`; None when there is none.

    Raises:
        UnsupportedZipformerError: the joiner quantises its input with one scale for all rows, so that the streams of
            a batch and the frames of a window would change each other; a context of one label; other inputs.
    """
    _check(decoder, joiner)
    context, labels, dim = context_size(decoder), vocabulary_size(decoder), sizes(joiner.graph.input[0])[-1]
    decoder, joiner = compose.add_prefix(decoder, "decoder/"), compose.add_prefix(joiner, "joiner/")
    (y,), (prediction,) = decoder.graph.input, decoder.graph.output
    (frame, other), (logit,) = joiner.graph.input, joiner.graph.output
    nodes = [
        *_read_context(y.name),
        *decoder.graph.node,
        *_pair(prediction.name, frame.name, other.name),
        *joiner.graph.node,
        *_choose(logit.name),
        *_judge(),
        *_next_context(y.name),
    ]
    state: list[int | str] = ["B", 1, context - 1]
    graph = helper.make_graph(
        nodes,
        "decoder_joint",
        [
            helper.make_tensor_value_info("ENCODED", TensorProto.FLOAT, ["B", "T", dim]),
            helper.make_tensor_value_info("TARGET", TensorProto.INT32, ["B", 1]),
            helper.make_tensor_value_info("STATE_H", TensorProto.FLOAT, state),
            helper.make_tensor_value_info("STATE_C", TensorProto.FLOAT, state),
        ],
        [
            helper.make_tensor_value_info("LABEL", TensorProto.INT32, ["B", "T"]),
            helper.make_tensor_value_info("LABEL_LOG_PROB", TensorProto.FLOAT, ["B", "T"]),
            helper.make_tensor_value_info("LABEL_CONFIDENCE", TensorProto.FLOAT, ["B", "T"]),
            helper.make_tensor_value_info("LOG_PROBS", TensorProto.FLOAT, ["B", "T", labels]),
            helper.make_tensor_value_info("STATE_H_NEXT", TensorProto.FLOAT, state),
            helper.make_tensor_value_info("STATE_C_NEXT", TensorProto.FLOAT, state),
        ],
        initializer=[
            *decoder.graph.initializer,
            *joiner.graph.initializer,
            *(numpy_helper.from_array(np.asarray(v), k) for k, v in _constants(labels, dim, unknown).items()),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=decoder.opset_import, ir_version=decoder.ir_version, producer_name=""
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _check(decoder: ModelProto, joiner: ModelProto) -> None:
    if quantises_activations(joiner):
        raise UnsupportedZipformerError(
            "the joiner quantises its input with one scale for all rows, so streams that share a batch would change "
            "each other's tokens: put the float joiner (joiner*.onnx without int8) beside it"
        )
    if context_size(decoder) < 2:
        raise UnsupportedZipformerError(f"context_size is {context_size(decoder)}; it must be at least 2")
    shapes = [sizes(value) for value in [*decoder.graph.input, *joiner.graph.input]]
    if [len(shape) for shape in shapes] != [2, 2, 2] or shapes[1] != shapes[2]:
        raise UnsupportedZipformerError(f"decoder and joiner take {shapes}; expected [N, context], [N, dim], [N, dim]")
    versions = [{item.domain: item.version for item in model.opset_import} for model in (decoder, joiner)]
    if versions[0][""] != versions[1][""]:
        raise UnsupportedZipformerError(f"decoder and joiner have different opsets: {versions}")


def _constants(labels: int, dim: int, unknown: int | None) -> dict[str, npt.NDArray[np.generic] | np.generic]:
    blank = labels - 1
    new_label = (np.arange(labels) - 1) % labels  # by original id
    original = (np.arange(labels) + 1) % labels  # by new label
    rival, penalty = original.copy(), np.zeros(labels, np.float32)
    if unknown is not None:
        penalty[new_label[unknown]] = _NEVER
        rival[blank] = unknown
        new_label[unknown] = blank
    least = math.exp((1 - labels ** (1 - _ALPHA)) / (1 - _ALPHA))
    return {
        "c_alpha": np.float32(_ALPHA),
        "c_unit": np.float32(1),
        "c_rest": np.float32(1 - _ALPHA),
        "c_least": np.float32(least),
        "c_range": np.float32(1 - least),
        "c_one": np.array([1]),
        "c_two": np.array([2]),
        "c_labels": np.array([labels]),
        "c_rows": np.array([-1, dim]),
        "c_batch_frames": np.array([0, 1]),
        "c_first": np.array([1]),
        "c_end": np.array([np.iinfo(np.int64).max]),
        "c_new_label": new_label.astype(np.int32),
        "c_original": original,
        "c_rival": rival,
        "c_penalty": penalty,
    }


def _read_context(y: str) -> list[NodeProto]:
    """STATE_H and TARGET -> y, the labels that the prediction network takes."""
    return [
        helper.make_node("Squeeze", ["STATE_H", "c_one"], ["c_state"]),
        helper.make_node("Cast", ["c_state"], ["c_stored"], to=_INT64),
        helper.make_node("Sub", ["c_stored", "c_one"], ["c_before"]),
        helper.make_node("Cast", ["TARGET"], ["c_target"], to=_INT64),
        helper.make_node("Add", ["c_target", "c_one"], ["c_next_id"]),
        helper.make_node("Mod", ["c_next_id", "c_labels"], ["c_id"]),
        helper.make_node("Concat", ["c_before", "c_id"], [y], axis=1),
    ]


def _pair(prediction: str, frame: str, other: str) -> list[NodeProto]:
    """Give every encoder frame [B, T, dim] the prediction [B, dim] of its row; the joiner takes [B * T, dim]."""
    return [
        helper.make_node("Unsqueeze", [prediction, "c_one"], ["c_prediction"]),
        helper.make_node("Shape", ["ENCODED"], ["c_shape"]),
        helper.make_node("Expand", ["c_prediction", "c_shape"], ["c_predictions"]),
        helper.make_node("Reshape", ["ENCODED", "c_rows"], [frame]),
        helper.make_node("Reshape", ["c_predictions", "c_rows"], [other]),
    ]


def _choose(logit: str) -> list[NodeProto]:
    """Logits -> the best label and the log-probabilities in our order. The best is found in the original order."""
    return [
        helper.make_node("Gather", ["c_shape", "c_batch_frames"], ["c_sizes"]),
        helper.make_node("Concat", ["c_sizes", "c_labels"], ["c_logits_shape"], axis=0),
        helper.make_node("Reshape", [logit, "c_logits_shape"], ["c_logits"]),
        helper.make_node("ArgMax", ["c_logits"], ["c_best"], axis=2, keepdims=0),
        helper.make_node("Gather", ["c_new_label", "c_best"], ["LABEL"]),
        helper.make_node("LogSoftmax", ["c_logits"], ["c_log_probs"], axis=2),
        helper.make_node("Gather", ["c_log_probs", "c_original"], ["c_ordered"], axis=2),
        helper.make_node("Gather", ["c_log_probs", "c_rival"], ["c_rivals"], axis=2),
        helper.make_node("Max", ["c_ordered", "c_rivals"], ["c_larger"]),
        helper.make_node("Add", ["c_larger", "c_penalty"], ["LOG_PROBS"]),
        helper.make_node("ReduceMax", ["LOG_PROBS"], ["LABEL_LOG_PROB"], axes=[2], keepdims=0),
    ]


def _judge() -> list[NodeProto]:
    """LOG_PROBS -> LABEL_CONFIDENCE, exponential Tsallis entropy as `backends/rnnt_decoder/confidence.py` has it."""
    return [
        helper.make_node("Mul", ["LOG_PROBS", "c_alpha"], ["c_scaled"]),
        helper.make_node("Exp", ["c_scaled"], ["c_powers"]),
        helper.make_node("ReduceSum", ["c_powers", "c_two"], ["c_sum"], keepdims=0),
        helper.make_node("Sub", ["c_unit", "c_sum"], ["c_lack"]),
        helper.make_node("Div", ["c_lack", "c_rest"], ["c_entropy"]),
        helper.make_node("Exp", ["c_entropy"], ["c_certainty"]),
        helper.make_node("Sub", ["c_certainty", "c_least"], ["c_above"]),
        helper.make_node("Div", ["c_above", "c_range"], ["LABEL_CONFIDENCE"]),
    ]


def _next_context(y: str) -> list[NodeProto]:
    """Forget the oldest label of y."""
    return [
        helper.make_node("Slice", [y, "c_first", "c_end", "c_one"], ["c_after"]),
        helper.make_node("Add", ["c_after", "c_one"], ["c_to_store"]),
        helper.make_node("Cast", ["c_to_store"], ["c_stored_next"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["c_stored_next", "c_one"], ["STATE_H_NEXT"]),
        helper.make_node("Identity", ["STATE_C"], ["STATE_C_NEXT"]),
    ]
