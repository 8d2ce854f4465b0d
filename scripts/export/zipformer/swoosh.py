"""SwooshL and SwooshR, the activations of a Zipformer, in seven operators instead of nine or twelve.

Both are log(1 + e^(x - c)) - s x - k (Yao et al. 2023, "Zipformer"). With z = x + a, which the bias before it can add,
the constants leave: log(m + e^z) - s z, where m = e^(-(s c + k) / (1 - s)) and a = ln m - c. Where e^z would overflow,
the logarithm is z itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper

from scripts.export.zipformer.wiring import consumers_of, producers_of

Arrays = dict[str, npt.NDArray[Any]]

# From here on log(m + e^z) is z in single precision, whatever m; e^88 is no float any more.
_STRAIGHT = 80.0
_TOP = "swoosh_top"


def shorten_swooshes(nodes: Sequence[NodeProto], constants: Arrays) -> tuple[list[NodeProto], Arrays]:
    """Rewrite each activation whose input comes with a bias; leave all others as they are.

    Args:
        nodes: of the graph, in order.
        constants: its initializers by name.

    Returns:
        the nodes, and initializers that they need besides.
    """
    graph = _Graph(constants, producers_of(nodes), consumers_of(nodes))
    written: dict[int, list[NodeProto]] = {}
    gone: set[int] = set()
    added: Arrays = {}
    for node in nodes:
        swoosh = graph.swoosh(node) if node.op_type == "Log" else None
        if swoosh is None:
            continue
        bias = graph.bias(swoosh)
        if bias is None:
            continue
        producer, index = bias
        shifted = f"{swoosh.output}:bias"
        log_m = -(swoosh.slope * swoosh.centre + swoosh.level) / (1 - swoosh.slope)
        added[shifted] = (constants[producer.input[index]] + np.float32(log_m - swoosh.centre)).astype(np.float32)
        moved = NodeProto()
        moved.CopyFrom(producer)
        moved.input[index] = shifted
        written[id(producer)] = [moved]
        written[id(swoosh.last)] = _shortened(swoosh, log_m, added)
        gone |= {id(old) for old in swoosh.nodes}
    kept = (written.get(id(node), [] if id(node) in gone else [node]) for node in nodes)
    return [node for group in kept for node in group], added


@dataclass(frozen=True)
class _Swoosh:
    """log(1 + e^(x - centre)) - slope x - level, as it stands in a graph; `last` is the last of its nodes."""

    x: str
    centre: float
    slope: float
    level: float
    nodes: list[NodeProto]

    @property
    def last(self) -> NodeProto:
        return self.nodes[-1]

    @property
    def output(self) -> str:
        return str(self.last.output[0])


@dataclass(frozen=True)
class _Graph:
    """Finds activations by who makes and who takes a tensor."""

    constants: Arrays
    producers: dict[str, NodeProto]
    consumers: dict[str, list[NodeProto]]

    def swoosh(self, log: NodeProto) -> _Swoosh | None:
        """Return the activation around a logarithm; None where it is none."""
        try:
            add = self._made(log.input[0], "Add")
            (exp,) = (self.producers[name] for name in add.input if name in self.producers)
            if self._number(add, exp.output[0]) != 1 or exp.op_type != "Exp":
                return None
            soft = self._with_infinity(log, add, exp) or self._without_overflow(log, add, exp)
            if soft is None:
                return None
            shift, nodes = soft
            x, centre = shift.input[0], self._number(shift, shift.input[0])
            (line,) = self.consumers[nodes[-1].output[0]]
            slope = self._made(line.input[1], "Mul")
            (level,) = self.consumers[line.output[0]]
            parts = [line, level]
            if [part.op_type for part in parts] != ["Sub", "Sub"] or line.input[0] != nodes[-1].output[0]:
                return None
            if level.input[0] != line.output[0]:
                return None
            factor, constant = self._number(slope, x), self._number(level, line.output[0])
            return _Swoosh(x, centre, factor, constant, [*nodes, shift, slope, line, level])
        except (KeyError, ValueError):  # other operators than those of the activation
            return None

    def bias(self, swoosh: _Swoosh) -> tuple[NodeProto, int] | None:
        """Return the node that gives x, and its input that is a bias; None where others take x or what is within."""
        producer, own = self.producers.get(swoosh.x), {id(node) for node in swoosh.nodes}
        within = [swoosh.x, *(node.output[0] for node in swoosh.nodes[:-1])]
        if producer is None or any(id(node) not in own for name in within for node in self.consumers[name]):
            return None
        places = {"Conv": (2,), "Add": (0, 1)}.get(producer.op_type, ())
        for index in places:
            value = self.constants.get(producer.input[index]) if index < len(producer.input) else None
            if value is not None and value.ndim == 1:
                return producer, index
        return None

    def _with_infinity(
        self, log: NodeProto, add: NodeProto, exp: NodeProto
    ) -> tuple[NodeProto, list[NodeProto]] | None:
        """Match Where(log == inf, y, log) with y = x - c; return the Sub that gives y, and the nodes behind it."""
        users = {node.op_type: node for node in self.consumers[log.output[0]]}
        shift = self.producers.get(exp.input[0])
        if set(users) != {"Equal", "Where"} or shift is None or shift.op_type != "Sub":
            return None
        equal, where = users["Equal"], users["Where"]
        if list(where.input) != [equal.output[0], shift.output[0], log.output[0]]:
            return None
        return shift, [exp, add, log, equal, where]

    def _without_overflow(
        self, log: NodeProto, add: NodeProto, exp: NodeProto
    ) -> tuple[NodeProto, list[NodeProto]] | None:
        """Match Max(0, y) + log(1 + e^-|0 - y|), as `_with_infinity`."""
        neg = self._made(exp.input[0], "Neg")
        size = self._made(neg.input[0], "Abs")
        difference = self._made(size.input[0], "Sub")
        shift = self._made(difference.input[1], "Sub")
        (total,) = self.consumers[log.output[0]]
        (other,) = (name for name in total.input if name != log.output[0])
        largest = self._made(other, "Max")
        if total.op_type != "Add" or set(largest.input) != {difference.input[0], shift.output[0]}:
            return None
        if self.constants[difference.input[0]].ravel().tolist() != [0.0]:
            return None
        return shift, [difference, size, neg, exp, add, log, largest, total]

    def _made(self, name: str, kind: str) -> NodeProto:
        """Return the node that gives a tensor. Raises KeyError when it is of another kind."""
        node = self.producers[name]
        if node.op_type != kind:
            raise KeyError(kind)
        return node

    def _number(self, node: NodeProto, name: str) -> float:
        """Return the constant that is a node's other input. Raises KeyError or ValueError when there is none."""
        (other,) = (item for item in node.input if item != name)
        return float(self.constants[other].item())


def _shortened(swoosh: _Swoosh, log_m: float, added: Arrays) -> list[NodeProto]:
    """Return the nodes for log(m + e^z) - s z, where the tensor x holds z now."""
    z, output = swoosh.x, swoosh.output
    m, slope = f"{output}:m", f"{output}:slope"
    numbers = {_TOP: _STRAIGHT, m: math.exp(log_m), slope: swoosh.slope}
    added |= {name: np.array(number, np.float32) for name, number in numbers.items()}
    steps = (
        ("Min", [z, _TOP], f"{output}:below"),
        ("Exp", [f"{output}:below"], f"{output}:exp"),
        ("Add", [f"{output}:exp", m], f"{output}:sum"),
        ("Log", [f"{output}:sum"], f"{output}:log"),
        ("Max", [f"{output}:log", z], f"{output}:soft"),
        ("Mul", [z, slope], f"{output}:line"),
        ("Sub", [f"{output}:soft", f"{output}:line"], output),
    )
    return [helper.make_node(kind, inputs, [name], name=name) for kind, inputs, name in steps]
