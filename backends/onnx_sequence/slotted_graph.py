"""A graph whose states are slots of a pool: the caches never leave the device that runs it.

The inputs and outputs of the states are replaced by the pool, [slots, *shape] for each state, and which rows of it a
step is about: ``slots`` [B, 1] int64, all different, and ``fresh`` [B] bool, whose caches count as zero. GatherND
reads them, ScatterND writes the next ones. A pool goes in and comes out at the same address: ONNX Runtime's ScatterND
then changes rows in place, and copies nothing else (`Re-use input for output` in its scatter_nd.cc; tests check it).
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from onnx_sequence.caches import StateTensor

SLOTS, FRESH = "slots", "fresh"
# Of the pools. No other node of a graph may be one of these where somebody else than CUDA's provider runs the others.
POOL_OPERATORS = ("GatherND", "ScatterND")


def pool_name(state: StateTensor) -> str:
    """Return the name of the input that takes a state's pool."""
    return f"{state.input_name}_pool"


def next_pool_name(state: StateTensor) -> str:
    """Return the name of the output that is the same pool after the step."""
    return f"{state.output_name}_pool"


def inner_names(state: StateTensor) -> tuple[str, str]:
    """Return the names of what a pool gives for a state, [B, *shape], before and after new streams have zeros."""
    return f"{state.input_name}_stored", state.input_name


def with_slots(model: onnx.ModelProto, states: Sequence[StateTensor]) -> onnx.ModelProto:
    """Return the graph with pools instead of states."""
    slotted = onnx.ModelProto()
    slotted.CopyFrom(model)
    graph = slotted.graph
    inputs = {item.name: item for item in graph.input}
    outputs = {item.name: item for item in graph.output}
    before, after = [], []
    for state in states:
        given, made = inputs.pop(state.input_name), outputs.pop(state.output_name)
        dtype = given.type.tensor_type.elem_type
        shape: list[str | int | None] = ["slots_total", *state.shape]
        inputs[pool_name(state)] = helper.make_tensor_value_info(pool_name(state), dtype, shape)
        outputs[next_pool_name(state)] = helper.make_tensor_value_info(next_pool_name(state), dtype, shape)
        stored, axes, zero, mask = (f"{state.input_name}_{part}" for part in ("stored", "axes", "zero", "fresh"))
        graph.initializer.append(
            helper.make_tensor(axes, TensorProto.INT64, [len(state.shape)], range(1, 1 + len(state.shape)))
        )
        graph.initializer.append(helper.make_tensor(zero, dtype, [], [0]))
        before += [
            helper.make_node("GatherND", [pool_name(state), SLOTS], [stored], name=stored),
            helper.make_node("Unsqueeze", [FRESH, axes], [mask], name=mask),
            helper.make_node("Where", [mask, zero, stored], [given.name], name=f"{state.input_name}_of_slots"),
        ]
        after.append(
            helper.make_node(
                "ScatterND",
                [pool_name(state), SLOTS, made.name],
                [next_pool_name(state)],
                name=f"{state.output_name}_to_slots",
            )
        )
    inputs[SLOTS] = helper.make_tensor_value_info(SLOTS, TensorProto.INT64, ["B", 1])
    inputs[FRESH] = helper.make_tensor_value_info(FRESH, TensorProto.BOOL, ["B"])
    nodes = [*before, *graph.node, *after]
    del graph.input[:], graph.output[:], graph.node[:]
    graph.input.extend(inputs.values())
    graph.output.extend(outputs.values())
    graph.node.extend(nodes)
    return slotted
