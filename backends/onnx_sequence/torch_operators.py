"""The ONNX operators (opset 17 to 19) of transducer graphs, as torch operators.

An operator takes its inputs, None for those left out, and its attributes. Inputs called *host* are sizes: tensors in
the processor's memory whose values decide the shape of the result. No operator here reads a value from the device, so
a graph of them can be captured as a CUDA graph. Semantics: https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Inputs = list[Any]  # Tensor, or None for an optional one that is left out
Attributes = dict[str, Any]
Operator = Callable[[Inputs, Attributes], Any]

_DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


def _ints(host: Tensor) -> list[int]:
    values: list[int] = host.tolist()
    return values


def _axes(inputs: Inputs, attributes: Attributes, position: int = 1) -> list[int]:
    """Axes are an attribute in older opsets and a host input in newer ones."""
    if len(inputs) > position and inputs[position] is not None:
        return _ints(inputs[position])
    axes: list[int] = list(attributes.get("axes", []))
    return axes


def _elementwise(function: Callable[..., Tensor]) -> Operator:
    return lambda inputs, _: function(*inputs)


def _divide(inputs: Inputs, _: Attributes) -> Tensor:
    x, y = inputs
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _cast(inputs: Inputs, attributes: Attributes) -> Tensor:
    x: Tensor = inputs[0].to(_DTYPES[attributes["to"]])
    return x


def _shape(inputs: Inputs, attributes: Attributes) -> Tensor:
    return torch.tensor(list(inputs[0].shape)[attributes.get("start", 0) : attributes.get("end")])


def _gather(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, indices = inputs
    axis = attributes.get("axis", 0) % x.dim()
    if indices.device.type == "cpu" and indices.dim() == 0:
        selected: Tensor = x.select(axis, int(indices))
        return selected
    picked = x.index_select(axis, indices.reshape(-1).to(torch.int64) % x.size(axis))
    gathered: Tensor = picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return gathered


def _gather_elements(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, indices = inputs
    axis = attributes.get("axis", 0) % x.dim()
    gathered: Tensor = x.gather(axis, indices.to(torch.int64) % x.size(axis))
    return gathered


def _unsqueeze(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, axes = inputs[0], _axes(inputs, attributes)
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _squeeze(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, axes = inputs[0], _axes(inputs, attributes)
    squeezed: Tensor = x.squeeze(tuple(axes)) if axes else x.squeeze()
    return squeezed


def _range(inputs: Inputs, _: Attributes) -> Tensor:
    start, limit, delta = (value.item() for value in inputs)
    return torch.arange(start, limit, delta, dtype=inputs[0].dtype)


def _convolve(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, weight, bias = (*inputs, None)[:3]
    size = weight.dim() - 2
    before, after = (attributes.get("pads", [0] * 2 * size)[part : part + size] for part in (0, size))
    if before == after:
        padding = list(before)
    else:
        padding = [0] * size
        pairs = [(left, right) for left, right in zip(before, after, strict=True)]
        x = functional.pad(x, [amount for pair in reversed(pairs) for amount in pair])
    function = {1: functional.conv1d, 2: functional.conv2d}[size]
    strides, dilations = attributes.get("strides", [1] * size), attributes.get("dilations", [1] * size)
    convolved: Tensor = function(x, weight, bias, strides, padding, dilations, attributes.get("group", 1))
    return convolved


def _slice(inputs: Inputs, _: Attributes) -> Tensor:
    x, starts, ends = inputs[0], _ints(inputs[1]), _ints(inputs[2])
    axes = _ints(inputs[3]) if len(inputs) > 3 and inputs[3] is not None else list(range(len(starts)))
    steps = _ints(inputs[4]) if len(inputs) > 4 and inputs[4] is not None else [1] * len(starts)
    cuts = [slice(None)] * x.dim()
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise ValueError(f"a step of {step}; allowed: at least 1")
        cuts[axis] = slice(start, end, step)
    cut: Tensor = x[tuple(cuts)]
    return cut


def _reshape(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, sizes = inputs[0], _ints(inputs[1])
    if not attributes.get("allowzero", 0):
        sizes = [x.size(axis) if size == 0 else size for axis, size in enumerate(sizes)]
    reshaped: Tensor = x.reshape(sizes)
    return reshaped


def _gemm(inputs: Inputs, attributes: Attributes) -> Tensor:
    a, b, c = (*inputs, None)[:3]
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    return alpha * (a @ b) if c is None else torch.addmm(c, a, b, beta=beta, alpha=alpha)


def _normalise(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, scale, bias = (*inputs, None)[:3]
    shape = x.shape[attributes.get("axis", -1) % x.dim() :]
    return functional.layer_norm(x, shape, scale, bias, attributes.get("epsilon", 1e-5))


def _pad(inputs: Inputs, attributes: Attributes) -> Tensor:
    if attributes.get("mode", b"constant") != b"constant":
        raise ValueError(f"mode {attributes['mode']!r}; allowed: constant")
    x, pads = inputs[0], _ints(inputs[1])
    value = inputs[2].item() if len(inputs) > 2 and inputs[2] is not None else 0
    axes = _axes(inputs, {}, position=3) or list(range(x.dim()))
    amounts = {axis % x.dim(): pads[i :: len(axes)] for i, axis in enumerate(axes)}
    order = [amounts.get(axis, [0, 0]) for axis in reversed(range(x.dim()))]
    return functional.pad(x, [amount for pair in order for amount in pair], value=value)


def _split(inputs: Inputs, attributes: Attributes) -> tuple[Tensor, ...]:
    x, axis = inputs[0], attributes.get("axis", 0)
    if len(inputs) > 1 and inputs[1] is not None:
        return tuple(x.split(_ints(inputs[1]), dim=axis))
    parts = attributes.get("num_outputs") or attributes["outputs"]
    return tuple(x.split(-(-x.size(axis) // parts), dim=axis))


def _clip(inputs: Inputs, _: Attributes) -> Tensor:
    x, low, high = (*inputs, None, None)[:3]
    return torch.clamp(x, low, high)


def _expand(inputs: Inputs, _: Attributes) -> Tensor:
    x, sizes = inputs[0], _ints(inputs[1])
    expanded: Tensor = x.expand(torch.broadcast_shapes(x.shape, tuple(sizes)))
    return expanded


def _constant_of_shape(inputs: Inputs, attributes: Attributes) -> Tensor:
    value = attributes.get("value", torch.zeros(1))
    return torch.full(_ints(inputs[0]), value.item(), dtype=value.dtype)


def _tile(inputs: Inputs, _: Attributes) -> Tensor:
    tiled: Tensor = inputs[0].repeat(_ints(inputs[1]))
    return tiled


def _flatten(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, axis = inputs[0], attributes.get("axis", 1) % (inputs[0].dim() + 1)
    flat: Tensor = x.reshape(reduce(operator.mul, x.shape[:axis], 1), -1)
    return flat


def _reducing(function: Callable[..., Tensor]) -> Operator:
    def reduced(inputs: Inputs, attributes: Attributes) -> Tensor:
        axes = _axes(inputs, attributes) or list(range(inputs[0].dim()))
        return function(inputs[0], dim=axes, keepdim=bool(attributes.get("keepdims", 1)))

    return reduced


def _arg_max(inputs: Inputs, attributes: Attributes) -> Tensor:
    keepdims = bool(attributes.get("keepdims", 1))
    best: Tensor = inputs[0].argmax(dim=attributes.get("axis", 0), keepdim=keepdims)
    return best


OPERATORS: dict[str, Operator] = {
    "Abs": _elementwise(torch.abs),
    "Add": _elementwise(torch.add),
    "And": _elementwise(torch.logical_and),
    "ArgMax": _arg_max,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(inputs, dim=attributes["axis"]),
    "Constant": lambda _, attributes: attributes["value"],
    "ConstantOfShape": _constant_of_shape,
    "Conv": _convolve,
    "Cos": _elementwise(torch.cos),
    "Div": _divide,
    "Equal": _elementwise(torch.eq),
    "Erf": _elementwise(torch.erf),
    "Exp": _elementwise(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Gemm": _gemm,
    "Greater": _elementwise(torch.gt),
    "GreaterOrEqual": _elementwise(torch.ge),
    "Identity": lambda inputs, _: inputs[0],
    "LayerNormalization": _normalise,
    "Less": _elementwise(torch.lt),
    "LessOrEqual": _elementwise(torch.le),
    "Log": _elementwise(torch.log),
    "LogSoftmax": lambda inputs, attributes: inputs[0].log_softmax(dim=attributes.get("axis", -1)),
    "MatMul": _elementwise(torch.matmul),
    "Max": lambda inputs, _: reduce(torch.maximum, inputs),
    "Min": lambda inputs, _: reduce(torch.minimum, inputs),
    "Mul": _elementwise(torch.mul),
    "Neg": _elementwise(torch.neg),
    "Not": _elementwise(torch.logical_not),
    "Or": _elementwise(torch.logical_or),
    "Pad": _pad,
    "Pow": _elementwise(torch.pow),
    "Range": _range,
    "ReduceMax": _reducing(torch.amax),
    "ReduceMean": _reducing(torch.mean),
    "ReduceMin": _reducing(torch.amin),
    "ReduceSum": _reducing(torch.sum),
    "Relu": _elementwise(torch.relu),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _elementwise(torch.sigmoid),
    "Sin": _elementwise(torch.sin),
    "Slice": _slice,
    "Softmax": lambda inputs, attributes: inputs[0].softmax(dim=attributes.get("axis", -1)),
    "Split": _split,
    "Sqrt": _elementwise(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _elementwise(torch.sub),
    "Tanh": _elementwise(torch.tanh),
    "Tile": _tile,
    "Transpose": lambda inputs, attributes: inputs[0].permute(
        attributes.get("perm", list(reversed(range(inputs[0].dim()))))
    ),
    "Unsqueeze": _unsqueeze,
    "Where": _elementwise(torch.where),
}
# Which inputs are host values, by position. Of the others, all go to the device as soon as one is there. Gather's index
# is one where it is a constant without dimensions.
HOST_INPUTS: dict[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
}
