"""Rows of a graph that was made for one row are those that the graph computes for each of them alone, bit for bit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from scripts.export.zipformer.draft import FixedBatchError
from scripts.export.zipformer.files import UnsupportedZipformerError
from scripts.export.zipformer.float_activations import float_activations
from scripts.export.zipformer.free_batch import free_batch
from tests.zipformer.synthetic import Builder

RNG = np.random.default_rng(0)
ROWS, STEPS, HEADS, WIDTH, LEFT = 5, 4, 2, 6, 3
KEYS = LEFT + STEPS


def graph_of(build, inputs, outputs):
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in of.items()]
        for of in (inputs, outputs)
    ]
    graph = helper.make_graph(build.nodes, "one", *values, build.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    return model


def quantised_product(build, name, weights):
    """What ONNX Runtime's quantiser puts in the place of a product."""
    quantised, scale, zero = (f"{name}_{part}" for part in ("q", "scale", "zero"))
    build.nodes.append(helper.make_node("DynamicQuantizeLinear", [name], [quantised, scale, zero]))
    whole = build.constant(RNG.integers(-127, 128, weights).astype(np.int8))
    product = build.op("MatMulInteger", quantised, whole, zero, build.constant(np.int8(0)))
    factor = build.op("Mul", scale, build.constant(np.float32(0.003)))
    return build.op("Mul", build.op("Cast", product, to=TensorProto.FLOAT), factor)


def attention():
    """One head-split attention as icefall exports it: time first, positions by a table, cached keys, a mask."""
    build = Builder(seed=0)
    split = build.constant([STEPS, 1, HEADS, WIDTH])
    keys = build.op("Concat", "cache", "x", axis=0)
    build.named("Slice", "new_cache", keys, *(build.constant([number]) for number in (-LEFT, 2**60, 0)))
    query = build.op("Transpose", build.op("Reshape", "x", split), perm=[2, 1, 0, 3])
    key_split = build.op("Reshape", keys, build.constant([KEYS, 1, HEADS, -1]))
    scores = build.op("MatMul", query, build.op("Transpose", key_split, perm=[2, 1, 3, 0]))
    positions = quantised_product(build, query, (HEADS, 1, WIDTH, STEPS + KEYS - 1))
    flat = build.op("Reshape", positions, build.constant([-1, STEPS + KEYS - 1]))
    table = np.arange(STEPS - 1, -1, -1)[:, None] + np.arange(KEYS)
    picked = build.op("GatherElements", flat, build.constant(np.tile(table, (HEADS, 1))), axis=1)
    scores = build.op("Add", scores, build.op("Reshape", picked, build.constant([HEADS, 1, STEPS, KEYS])))
    # Of the cached frames, those before the stream began are not seen.
    is_far = build.op("Greater", "age", build.constant(np.arange(LEFT, dtype=np.float32)[None]))
    mask = build.op("Unsqueeze", build.op("Concat", is_far, build.constant(np.zeros((1, STEPS), bool)), axis=1),
                    build.constant([1]))  # fmt: skip
    weights = build.op("Softmax", build.op("Where", mask, build.constant(np.float32(-1000)), scores), axis=-1)
    mixed = build.op("MatMul", weights, build.op("Transpose", key_split, perm=[2, 1, 0, 3]))
    mixed = build.op("Transpose", mixed, perm=[2, 1, 0, 3])
    mixed = build.op("Reshape", mixed, build.constant([STEPS, 1, HEADS * WIDTH]))
    build.named("Transpose", "y", quantised_product(build, mixed, (HEADS * WIDTH, 7)))
    build.nodes[-1].attribute.append(helper.make_attribute("perm", [1, 0, 2]))
    inputs = {"x": [STEPS, 1, HEADS * WIDTH], "cache": [LEFT, 1, HEADS * WIDTH], "age": [1, 1]}
    return graph_of(build, inputs, {"y": [1, STEPS, 7], "new_cache": [LEFT, 1, HEADS * WIDTH]})


def run(model, inputs):
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(("y", "new_cache"), session.run(["y", "new_cache"], inputs), strict=True))


def test_rows_are_what_each_is_alone():
    alone, axes = attention(), {"x": 1, "cache": 1, "age": 0}
    together = free_batch(alone, axes, {"y": 0, "new_cache": 1})
    onnx.checker.check_model(together)
    spread = 10.0 ** np.arange(ROWS)[:, None]  # a scale for the batch would leave nothing of the first row
    rows = {
        "x": RNG.standard_normal((STEPS, ROWS, HEADS * WIDTH)) * spread,
        "cache": RNG.standard_normal((LEFT, ROWS, HEADS * WIDTH)) * spread,
        "age": np.arange(ROWS)[:, None],
    }
    rows = {name: value.astype(np.float32) for name, value in rows.items()}
    rows["x"][:, 2] = 0  # nothing to take a scale of
    rows["cache"][:, 2] = 0
    found = run(together, rows)
    for row in range(ROWS):
        expected = run(alone, {name: np.take(value, [row], axes[name]) for name, value in rows.items()})
        np.testing.assert_array_equal(found["y"][row], expected["y"][0])
        np.testing.assert_array_equal(found["new_cache"][:, row], expected["new_cache"][:, 0])
    assert np.isfinite(found["y"]).all()


def test_float_activations_are_those_before_they_were_quantised():
    alone = attention()
    in_floats = float_activations(alone)
    onnx.checker.check_model(in_floats)
    assert not {"DynamicQuantizeLinear", "MatMulInteger"} & {node.op_type for node in in_floats.graph.node}
    shapes = {"x": (STEPS, 1, HEADS * WIDTH), "cache": (LEFT, 1, HEADS * WIDTH)}
    inputs = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    inputs["age"] = np.ones((1, 1), np.float32)
    found, expected = run(in_floats, inputs)["y"], run(alone, inputs)["y"]
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
    assert not np.array_equal(found, expected)


def test_convolutions_over_time_become_planes():
    build = Builder(seed=0)
    weights, bias = build.weights(4, 1, 5), build.weights(4)
    build.nodes.append(helper.make_node("Conv", ["x", weights, bias], ["y"], group=4, pads=[2, 2], kernel_shape=[5]))
    build.named("Identity", "new_cache", "x")
    alone = graph_of(build, {"x": [1, 4, 9]}, {"y": [1, 4, 9], "new_cache": [1, 4, 9]})
    planes = float_activations(alone)
    inputs = {"x": RNG.standard_normal((1, 4, 9)).astype(np.float32)}
    assert [node.op_type for node in planes.graph.node] == ["Unsqueeze", "Conv", "Squeeze", "Identity"]
    np.testing.assert_allclose(run(planes, inputs)["y"], run(alone, inputs)["y"], atol=1e-5)


def test_an_unknown_way_to_quantise_is_refused():
    build = Builder(seed=0)
    build.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]))
    weights = build.constant(np.ones((4, 2), np.int8))
    build.nodes.append(helper.make_node("MatMulInteger", ["q", weights, "zero"], ["p"]))
    build.nodes.append(helper.make_node("Cast", ["p"], ["y"], to=TensorProto.FLOAT))
    with pytest.raises(UnsupportedZipformerError, match="unknown way to quantise"):
        float_activations(graph_of(build, {"x": [1, 4]}, {"y": [1, 2]}))


def one_node(kind, *constants, shape=(1, 4), result=(1, 4), **attributes):
    build = Builder(seed=0)
    build.nodes.append(
        helper.make_node(kind, ["x", *(build.constant(value) for value in constants)], ["y"], **attributes)
    )
    return graph_of(build, {"x": list(shape)}, {"y": list(result)})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: one_node("ReduceMean", axes=[0], keepdims=1), "ReduceMean y: it runs over the batch axis"),
        (lambda: one_node("Softmax", axis=0), "Softmax y: it runs over the batch axis"),
        (lambda: one_node("Slice", [0], [1], [0]), "Slice y: it cuts the batch axis"),
        (lambda: one_node("Add", np.ones((3, 4), np.float32), result=(3, 4)), "Add y: rows meet other axes"),
        (lambda: one_node("Reshape", [2, 2], result=(2, 2)), "Reshape y: it merges the batch with other axes"),
        (lambda: one_node("CumSum", 0), "CumSum y: nobody knows what it does with rows"),
        (lambda: one_node("Transpose", perm=[1, 0], result=(4, 1)), "batch axes at {'y': 1}, not at {'y': 0}"),
    ],
)
def test_a_graph_that_mixes_rows_is_refused(model, message):
    with pytest.raises(FixedBatchError, match=message):
        free_batch(model(), {"x": 0}, {"y": 0})


def test_products_that_floats_do_not_hold_are_refused():
    build = Builder(seed=0)
    build.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]))
    build.nodes.append(
        helper.make_node("MatMulInteger", ["q", build.constant(np.full((600, 1), 127, np.int8)), "zero"], ["p"])
    )
    build.nodes.append(helper.make_node("Cast", ["p"], ["y"], to=TensorProto.FLOAT))
    with pytest.raises(FixedBatchError, match="sums of up to 19431000 are not exact"):
        free_batch(graph_of(build, {"x": [1, 600]}, {"y": [1, 1]}), {"x": 0}, {"y": 0})
