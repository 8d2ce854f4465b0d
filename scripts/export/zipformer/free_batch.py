"""An encoder that was traced with a batch of 1, as one for any batch, each row computed as if it were alone.

The batch axis of every tensor is followed from the inputs to the outputs, node by node (`batch_rules.py`). Sizes that
say "one row" become free, and quantisers get a scale for each row (`row_scales.py`). A node that would mix rows, or
that nobody here knows, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto

from scripts.export.zipformer.batch_rules import RULES, Rule
from scripts.export.zipformer.draft import Draft, FixedBatchError, label
from scripts.export.zipformer.row_scales import integer_product, quantise

_RULES: dict[str, Rule] = {**RULES, "DynamicQuantizeLinear": quantise, "MatMulInteger": integer_product}


def free_batch(model: ModelProto, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> ModelProto:
    """Return the graph for any batch.

    Args:
        model: its batch is 1, and every size in it is fixed.
        inputs: batch axis of each input.
        outputs: batch axis of each output.

    Raises:
        FixedBatchError: a node mixes rows or is unknown; the message names it.
    """
    draft = Draft.of(model, inputs)
    for node in model.graph.node:
        if node.output[0] in draft.done:
            continue
        if not any(name in draft.axes for name in node.input):
            draft.nodes.append(node)
        elif node.op_type in _RULES:
            _RULES[node.op_type](draft, node)
        else:
            raise FixedBatchError(f"{label(node)}: nobody knows what it does with rows")
    found = {name: draft.axes.get(name) for name in outputs}
    if found != dict(outputs):
        raise FixedBatchError(f"the outputs have their batch axes at {found}, not at {dict(outputs)}")
    return draft.model(model, {**inputs, **outputs})
