"""Who makes and who takes the tensors of a graph."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import NodeProto


def producers_of(nodes: Iterable[NodeProto]) -> dict[str, NodeProto]:
    """Return the node that makes each tensor."""
    return {name: node for node in nodes for name in node.output}


def consumers_of(nodes: Iterable[NodeProto]) -> dict[str, list[NodeProto]]:
    """Return the nodes that take each tensor, once for each of their inputs that it is."""
    consumers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    return consumers
