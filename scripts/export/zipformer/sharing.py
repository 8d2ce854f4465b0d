"""Whether streams can share a call of an encoder, after a graph with a fixed batch has been made one for any batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, TensorProto

from scripts.export.zipformer.draft import FixedBatchError
from scripts.export.zipformer.files import Encoder, sizes
from scripts.export.zipformer.free_batch import free_batch

_ROWS = 3
# Of the largest value of an output. Products of floats are summed in another order for more rows.
_ROUNDING = 1e-5
# ONNX Runtime's int8 products saturate on processors that have AVX2 but no VNNI; ours do not.
_SATURATION = 0.05

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Shared:
    """The encoder that streams are served with.

    Attributes:
        encoder: takes any batch, or one row at a time where `reason` says why.
        reason: why streams cannot share a call; empty when they can.
    """

    encoder: Encoder
    reason: str = ""


def share(encoder: Encoder) -> Shared:
    """Return the encoder for any batch where that changes no stream's result."""
    if encoder.batch is None:
        reason = "its activations are quantised with one scale for the batch, so streams would change each other"
        return Shared(encoder, reason if encoder.is_quantised_by_batch else "")
    first, *_ = encoder.model.graph.output
    feature, *_ = encoder.model.graph.input
    inputs = {feature.name: 0, **{state.input_name: state.batch_axis for state in encoder.states}}
    outputs = {first.name: 0, **{state.output_name: state.batch_axis for state in encoder.states}}
    try:
        model = free_batch(encoder.model, inputs, outputs)
        _check_rows(encoder.model, model, inputs, outputs)
    except FixedBatchError as error:
        return Shared(encoder, f"the graph has a fixed batch of 1: {error}")
    return Shared(replace(encoder, model=model, batch=None, is_quantised_by_batch=False))


def _check_rows(alone: ModelProto, together: ModelProto, inputs: dict[str, int], outputs: dict[str, int]) -> None:
    """Compare rows of random numbers, together and alone. Raises FixedBatchError when they differ."""
    random = np.random.default_rng(0)
    rows: Arrays = {}
    for value in alone.graph.input:
        shape = [_ROWS if axis == inputs[value.name] else size for axis, size in enumerate(sizes(value))]
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            rows[value.name] = random.standard_normal(shape).astype(np.float32)
        else:
            rows[value.name] = random.integers(0, 100, shape)
    both = _open(together)
    found = _run(both, rows, outputs)
    original = _open(alone)
    for row in range(_ROWS):
        one = {name: np.take(value, [row], inputs[name]) for name, value in rows.items()}
        itself, expected = _run(both, one, outputs), _run(original, one, outputs)
        for name, axis in outputs.items():
            part = np.take(found[name], [row], axis)
            largest = max(1.0, float(np.abs(expected[name]).max()))
            if not np.allclose(part, itself[name], rtol=0, atol=_ROUNDING * largest):
                raise FixedBatchError(f"{name} of a row depends on the other rows")
            if not np.allclose(part, expected[name], rtol=0, atol=_SATURATION * largest):
                raise FixedBatchError(f"{name} is not what the graph in the file computes")


def _open(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, inputs: Arrays, outputs: dict[str, int]) -> Arrays:
    return dict(zip(outputs, session.run(list(outputs), inputs), strict=True))
