"""A graph with one ONNX `Loop`, cut into three without: what comes before, one round, and what comes after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx
from onnx import GraphProto, NodeProto

LOOP = "Loop"


@dataclass(frozen=True)
class LoopParts:
    """The parts, and the names by which values go from one to the next.

    Attributes:
        before: graph inputs -> `shared` and the first values of `carried_in`, by the names in `first`.
        round: `shared` and `carried_in` -> `go_on`, `carried_out`, `found`.
        after: the Loop's outputs by `results`, and `shared` -> graph outputs.
        shared: what no round changes.
        first: where the values of `carried_in` come from before the first round.
        carried_in: values that a round takes from the round before.
        carried_out: the same after a round.
        go_on: whether there is another round.
        found: values of which those of all rounds are kept.
        results: names of the Loop's outputs: `carried_out` of the last round, `found` of all rounds on a first axis.
    """

    before: GraphProto
    round: GraphProto
    after: GraphProto
    shared: list[str]
    first: list[str]
    carried_in: list[str]
    carried_out: list[str]
    go_on: str
    found: list[str]
    results: list[str]


def loop_of(graph: GraphProto) -> NodeProto | None:
    """Return the Loop of a graph that has exactly one, at its top, and goes on until it says so; else None."""
    loops = [node for node in graph.node if node.op_type == LOOP]
    return loops[0] if len(loops) == 1 and not any(loops[0].input[:2]) else None


def split_at_loop(graph: GraphProto) -> LoopParts:
    """Cut a graph. Raises ValueError when it is none that `loop_of` takes."""
    loop = loop_of(graph)
    if loop is None:
        raise ValueError("the graph has not one Loop that goes on until it says so")
    body = next(item.g for item in loop.attribute if item.name == "body")
    place = list(graph.node).index(loop)
    before, after = list(graph.node)[:place], list(graph.node)[place + 1 :]
    _, _, *carried_in = [item.name for item in body.input]
    go_on, *outputs = [item.name for item in body.output]
    carried_out, found = outputs[: len(carried_in)], outputs[len(carried_in) :]
    constants = {item.name for item in graph.initializer} | {item.name for item in body.initializer}
    shared = sorted(_taken(body.node) - constants - set(carried_in) - {body.input[0].name, body.input[1].name})
    first, results = list(loop.input[2:]), list(loop.output)
    late = sorted(_taken(after) - constants - set(results) - set(shared))
    inputs = [item.name for item in graph.input]
    return LoopParts(
        before=_part(graph, before, inputs, [*shared, *late, *first]),
        round=_part(graph, [*body.node], [*shared, *carried_in], [go_on, *outputs], body.initializer),
        after=_part(graph, after, [*shared, *late, *results], [item.name for item in graph.output]),
        shared=[*shared, *late],
        first=first,
        carried_in=carried_in,
        carried_out=carried_out,
        go_on=go_on,
        found=found,
        results=results,
    )


def _taken(nodes: Iterable[NodeProto]) -> set[str]:
    """Return the names that the nodes take from elsewhere."""
    nodes = list(nodes)
    return {name for node in nodes for name in node.input if name} - {name for node in nodes for name in node.output}


def _part(
    graph: GraphProto,
    nodes: Sequence[NodeProto],
    inputs: Sequence[str],
    outputs: Sequence[str],
    initializers: Iterable[onnx.TensorProto] = (),
) -> GraphProto:
    """Return a graph of some of the nodes, with those weights that they take."""
    part = GraphProto(name=graph.name)
    part.node.extend(nodes)
    part.input.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(inputs))
    part.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(outputs))
    taken = _taken(nodes)
    part.initializer.extend(item for item in (*graph.initializer, *initializers) if item.name in taken)
    return part
