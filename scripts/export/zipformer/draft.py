"""A graph that is being written anew, node by node, while the batch axis of its tensors is followed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from scripts.export.zipformer.wiring import consumers_of

Array = npt.NDArray[Any]


class FixedBatchError(ValueError):
    """The graph cannot be given a free batch; the message names the node."""


@dataclass
class Draft:
    """What is known of the old graph, and what of the new one is written.

    Attributes:
        sizes: of every tensor, with a batch of 1.
        constants: initializers by name.
        consumers: nodes that take a tensor.
        axes: batch axis of every tensor that has one.
        whole: quantised tensor, or its zero point -> the tensor of whole numbers that stands for both.
        nodes: written so far.
        added: new initializers.
        done: outputs of old nodes that need no rule any more.
    """

    sizes: dict[str, list[int]]
    constants: dict[str, Array]
    consumers: dict[str, list[NodeProto]]
    axes: dict[str, int]
    whole: dict[str, str] = field(default_factory=dict)
    nodes: list[NodeProto] = field(default_factory=list)
    added: dict[str, Array] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    @staticmethod
    def of(model: ModelProto, axes: Mapping[str, int]) -> Draft:
        """Begin with the batch axes of the inputs. Raises FixedBatchError when a size is not fixed."""
        graph = onnx.shape_inference.infer_shapes(model).graph
        constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
        sizes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in [*graph.value_info, *graph.input, *graph.output]
            if all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
        }
        unknown = [name for node in graph.node for name in node.output if name and name not in sizes]
        if unknown:
            raise FixedBatchError(f"the size of {unknown[0]!r} is not fixed")
        sizes.update({name: list(value.shape) for name, value in constants.items()})
        return Draft(sizes, constants, consumers_of(graph.node), dict(axes))

    def place(self, name: str) -> int:
        """Return the batch axis of a tensor counted from its last, -1."""
        return self.axes[name] - len(self.sizes[name])

    def keep(self, node: NodeProto, axis: int) -> None:
        """Take an old node as it is; `axis` is the batch axis of what it gives."""
        self.nodes.append(node)
        self.axes[node.output[0]] = axis

    def op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a new node and return its output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: object) -> str:
        """Add a new initializer and return its name."""
        self.added[name] = np.asarray(value)
        return name

    def numbers(self, node: NodeProto, index: int) -> list[int]:
        """Return a constant input of whole numbers. Raises FixedBatchError when it is computed."""
        name = node.input[index]
        if name not in self.constants:
            raise FixedBatchError(f"{label(node)}: {name!r} is computed")
        return [int(number) for number in self.constants[name].ravel()]

    def model(self, original: ModelProto, axes: Mapping[str, int]) -> ModelProto:
        """Return the finished graph; inputs and outputs have a free size at `axes`."""
        model = ModelProto()
        model.CopyFrom(original)
        graph = model.graph
        used = {name for node in self.nodes for name in node.input}
        kept = [item for item in graph.initializer if item.name in used]
        del graph.node[:], graph.value_info[:], graph.initializer[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(kept)
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in self.added.items())
        for item in [*graph.input, *graph.output]:
            dim = item.type.tensor_type.shape.dim[axes[item.name]]
            dim.Clear()
            dim.dim_param = "N"
        return model


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return an attribute of a node."""
    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)


def label(node: NodeProto) -> str:
    """Return how messages call a node."""
    return f"{node.op_type} {node.name or node.output[0]}"
