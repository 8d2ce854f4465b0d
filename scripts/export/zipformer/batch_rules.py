"""What each operator does with the batch axis: where it goes, and what of the node says that there is one row.

A rule takes the node into the draft, as it is or changed, or raises FixedBatchError where rows would mix.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from onnx import NodeProto

from scripts.export.zipformer.draft import Draft, FixedBatchError, attribute, label

Rule = Callable[[Draft, NodeProto], None]


def elementwise(draft: Draft, node: NodeProto) -> None:
    """Rows meet rows: their axes are at the same place, counted from the last."""
    sizes = np.broadcast_shapes(*(tuple(draft.sizes[name]) for name in node.input))
    places = {draft.place(name) for name in node.input if name in draft.axes}
    if len(places) != 1 or sizes[min(places)] != 1:
        raise FixedBatchError(f"{label(node)}: rows meet other axes")
    draft.sizes[node.output[0]] = list(sizes)  # the scale of every row has more axes than that of the batch had
    draft.keep(node, len(sizes) + min(places))


def expand(draft: Draft, node: NodeProto) -> None:
    """A target of 1 keeps the rows."""
    sizes, place = draft.sizes[node.output[0]], draft.place(node.input[0])
    if sizes[place] != 1:
        raise FixedBatchError(f"{label(node)}: it repeats rows")
    draft.keep(node, len(sizes) + place)


def transpose(draft: Draft, node: NodeProto) -> None:
    """The axis goes where the permutation says."""
    draft.keep(node, list(attribute(node, "perm")).index(draft.axes[node.input[0]]))


def unsqueeze(draft: Draft, node: NodeProto) -> None:
    """New axes shift it."""
    rank = len(draft.sizes[node.output[0]])
    new = {number % rank for number in draft.numbers(node, 1)}
    draft.keep(node, [axis for axis in range(rank) if axis not in new][draft.axes[node.input[0]]])


def squeeze(draft: Draft, node: NodeProto) -> None:
    """Axes that go shift it; it must not go itself."""
    rank, axis = len(draft.sizes[node.input[0]]), draft.axes[node.input[0]]
    gone = {number % rank for number in draft.numbers(node, 1)}
    if axis in gone:
        raise FixedBatchError(f"{label(node)}: it takes the batch axis away")
    draft.keep(node, [number for number in range(rank) if number not in gone].index(axis))


def cut(draft: Draft, node: NodeProto) -> None:
    """`Slice`, along other axes."""
    axis, rank = draft.axes[node.input[0]], len(draft.sizes[node.input[0]])
    if len(node.input) < 4 or axis in {number % rank for number in draft.numbers(node, 3)}:
        raise FixedBatchError(f"{label(node)}: it cuts the batch axis")
    draft.keep(node, axis)


def softmax(draft: Draft, node: NodeProto) -> None:
    """Along another axis."""
    axis = draft.axes[node.input[0]]
    if attribute(node, "axis", -1) % len(draft.sizes[node.input[0]]) == axis:
        raise FixedBatchError(f"{label(node)}: it runs over the batch axis")
    draft.keep(node, axis)


def reduce(draft: Draft, node: NodeProto) -> None:
    """Over other axes."""
    axis, rank = draft.axes[node.input[0]], len(draft.sizes[node.input[0]])
    given = draft.numbers(node, 1) if len(node.input) > 1 else attribute(node, "axes", [])
    over = {number % rank for number in given}
    if not over or axis in over:
        raise FixedBatchError(f"{label(node)}: it runs over the batch axis")
    draft.keep(node, axis if attribute(node, "keepdims", 1) else axis - sum(number < axis for number in over))


def convolution(draft: Draft, node: NodeProto) -> None:
    """Of rows, with constant weights."""
    if draft.axes.get(node.input[0]) != 0 or any(name in draft.axes for name in node.input[1:]):
        raise FixedBatchError(f"{label(node)}: the batch axis is not the first of the input")
    draft.keep(node, 0)


def product(draft: Draft, node: NodeProto) -> None:
    """Rows of the left side with one matrix, or matrices of both sides with each other."""
    left, right = node.input[:2]
    places = {draft.place(name) for name in (left, right) if name in draft.axes}
    if len(places) != 1:
        raise FixedBatchError(f"{label(node)}: rows meet other axes")
    (place,) = places
    of_rows = place == -2 and right not in draft.axes and len(draft.sizes[right]) == 2
    if place >= -2 and not of_rows:
        raise FixedBatchError(f"{label(node)}: it runs over the batch axis")
    draft.keep(node, len(draft.sizes[node.output[0]]) + place)


def concat(draft: Draft, node: NodeProto) -> None:
    """Join along another axis; what has no rows is repeated for each of them."""
    output, inputs = node.output[0], list(node.input)
    rows = next(name for name in inputs if name in draft.axes)
    axis, rank = draft.axes[rows], len(draft.sizes[rows])
    along = attribute(node, "axis") % rank
    if along == axis or any(draft.axes.get(name, axis) != axis for name in inputs):
        raise FixedBatchError(f"{label(node)}: it joins rows")
    for index, name in enumerate(inputs):
        if name not in draft.axes:
            sizes = draft.op("Shape", [rows], f"{output}:sizes{index}")
            where = draft.constant(f"{output}:axis{index}", [axis])
            batch = draft.op("Gather", [sizes, where], f"{output}:batch{index}")
            before, after = draft.sizes[name][:axis], draft.sizes[name][axis + 1 :]
            parts = [
                draft.constant(f"{output}:before{index}", np.array(before, np.int64)),
                batch,
                draft.constant(f"{output}:after{index}", np.array(after, np.int64)),
            ]
            target = draft.op("Concat", parts, f"{output}:target{index}", axis=0)
            inputs[index] = draft.op("Expand", [name, target], f"{output}:rows{index}")
    draft.op("Concat", inputs, output, axis=along)
    draft.axes[output] = axis


def reshape(draft: Draft, node: NodeProto) -> None:
    """The axis goes where as many numbers are ahead of it; its size is what is left over."""
    source, output = node.input[0], node.output[0]
    before, after = draft.sizes[source], list(draft.sizes[output])
    ahead = math.prod(before[: draft.axes[source]])
    places = [place for place, size in enumerate(after) if size == 1 and math.prod(after[:place]) == ahead]
    if not places:
        _relative_shift(draft, node)
        return
    # Of several, the one that the exporter left free.
    free = [place for place in places if draft.numbers(node, 1)[place] == -1]
    axis = (free or places)[0]
    after[axis] = -1
    draft.op("Reshape", [source, draft.constant(f"{output}:sizes", after)], output)
    draft.axes[output] = axis


def _relative_shift(draft: Draft, merge: NodeProto) -> None:
    """Relative positions, [.., T, T + K - 1] -> [.., T, K], where row t begins at T - 1 - t.

    The graph merges heads, batch and T, takes a table of positions (`GatherElements`), and splits them again. Without
    a table: in a line of T * (T + K - 1) numbers, the rows begin T + K - 2 apart, from T - 1 on.
    """
    gather = _only_consumer(draft, merge, "GatherElements")
    split = _only_consumer(draft, gather, "Reshape")
    source, output = merge.input[0], split.output[0]
    *outer, steps, width = draft.sizes[source]
    axis, kept = draft.axes[source], draft.sizes[output][-1]
    row = np.arange(steps - 1, -1, -1)[:, None] + np.arange(kept)
    table = draft.constants.get(gather.input[1])
    if (
        table is None
        or not np.array_equal(table, np.tile(row, (math.prod(outer), 1)))
        or attribute(gather, "axis", 0) != 1
        or draft.sizes[merge.output[0]][-1] != width
        or draft.sizes[output] != [*outer, steps, kept]
        or width != steps + kept - 1
        or axis >= len(outer)
    ):
        raise FixedBatchError(f"{label(gather)}: no shift by relative position")
    rows = list(outer)
    rows[axis] = -1
    apart, last = width - 1, len(outer)

    def reshaped(name: str, sizes: list[int], target: str) -> str:
        return draft.op("Reshape", [name, draft.constant(f"{target}:sizes", [*rows, *sizes])], target)

    def part(name: str, start: int, size: int, along: int, target: str) -> str:
        numbers = {"from": start, "to": start + size, "along": along}
        limits = [draft.constant(f"{target}:{key}", [number]) for key, number in numbers.items()]
        return draft.op("Slice", [name, *limits], target)

    line = reshaped(source, [steps * width], f"{output}:line")
    line = part(line, steps - 1, steps * apart, last, f"{output}:shifted")
    part(reshaped(line, [steps, apart], f"{output}:square"), 0, kept, last + 1, output)
    draft.axes[output] = axis
    draft.done |= {gather.output[0], output}


def _only_consumer(draft: Draft, node: NodeProto, kind: str) -> NodeProto:
    found = draft.consumers.get(node.output[0], [])
    if len(found) != 1 or found[0].op_type != kind:
        raise FixedBatchError(f"{label(node)}: it merges the batch with other axes")
    return found[0]


_ELEMENTWISE = (
    *("Abs", "Cast", "Erf", "Exp", "Identity", "Log", "Neg", "Not", "Relu", "Sigmoid", "Softplus", "Sqrt", "Tanh"),
    *("Add", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Pow", "Sub"),
    "Where",
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, elementwise),
    "Concat": concat,
    "Conv": convolution,
    "Expand": expand,
    "MatMul": product,
    "ReduceMean": reduce,
    "ReduceSum": reduce,
    "Reshape": reshape,
    "Slice": cut,
    "Softmax": softmax,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
