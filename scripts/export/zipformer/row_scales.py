"""Dynamic quantisation with a scale for each row of the batch, that which the row would have alone.

`DynamicQuantizeLinear` takes one scale for its tensor, so in a batch a stream's values would depend on the others, and
`MatMulInteger` of ONNX Runtime takes one zero point. Here the quantised values less their zero point are whole numbers
kept in floats, and so are the int8 weights. A product of those is exact in whatever order it is summed, while sums stay
below 2^24: bit for bit what the integer operators give.

Alone, a value that lies exactly between two levels at the end of the range is clipped; here it is not.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from scripts.export.zipformer.draft import Draft, FixedBatchError, label

_LEVELS = 255
# From here on not every whole number is a float.
_EXACT = 2**24
# The range of a row of zeros is not nothing, so that nothing is divided by it.
_LEAST = np.float32(_LEVELS) * np.finfo(np.float32).tiny


def quantise(draft: Draft, node: NodeProto) -> None:
    """`DynamicQuantizeLinear`: x / scale, rounded, with scale = (max(x, 0) - min(x, 0)) / 255 of each row."""
    source, (quantised, scale, zero_point) = node.input[0], node.output
    axis, rank = draft.axes[source], len(draft.sizes[source])
    over = [number for number in range(rank) if number != axis]
    low = draft.op("ReduceMin", [source], f"{quantised}:low", axes=over, keepdims=1)
    low = draft.op("Min", [low, draft.constant("rows:zero", np.float32(0))], f"{quantised}:lowest")
    high = draft.op("ReduceMax", [source], f"{quantised}:high", axes=over, keepdims=1)
    high = draft.op("Max", [high, draft.constant("rows:least", _LEAST)], f"{quantised}:highest")
    span = draft.op("Sub", [high, low], f"{quantised}:range")
    draft.op("Div", [span, draft.constant("rows:levels", np.float32(_LEVELS))], scale)
    steps = draft.op("Div", [source, scale], f"{quantised}:steps")
    draft.whole[quantised] = draft.whole[zero_point] = draft.op("Round", [steps], f"{quantised}:whole")
    draft.sizes[scale] = [1] * rank
    draft.axes[scale] = draft.axes[quantised] = axis


def integer_product(draft: Draft, node: NodeProto) -> None:
    """`MatMulInteger` of such a tensor with constant weights."""
    left, right, *zero_points = node.input
    whole = draft.whole.get(left)
    others = [name for name in zero_points[:1] if draft.whole.get(name) != whole]
    if whole is None or others or right not in draft.constants:
        raise FixedBatchError(f"{label(node)}: not a quantised activation times constant weights")
    weights = draft.constants[right].astype(np.int64)
    if zero_points[1:]:
        weights = weights - draft.numbers(node, 3)
    largest = _LEVELS * int(np.abs(weights).sum(axis=-2).max())
    if largest >= _EXACT:
        raise FixedBatchError(f"{label(node)}: sums of up to {largest} are not exact in single precision")
    output = node.output[0]
    draft.op("MatMul", [whole, draft.constant(f"{right}:whole", weights.astype(np.float32))], output)
    draft.axes[output] = len(draft.sizes[output]) + draft.place(left)
