"""Activations in fewer operators are what they were, up to rounding; what is none is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from scripts.export.zipformer.swoosh import shorten_swooshes
from tests.zipformer.synthetic import Builder
from tests.zipformer.test_free_batch import graph_of, run

WIDTH = 6
# Where e^(x - c) overflows, where it vanishes, and between.
X = np.concatenate([np.linspace(-120, 120, 4 * WIDTH), np.linspace(-8, 8, 4 * WIDTH)]).astype(np.float32)
SLOPE = np.float32(0.08)


def swoosh(x, centre, level):
    return np.logaddexp(0, x.astype(np.float64) - centre) - 0.08 * x - level


def with_infinity(build, y):
    """log(1 + e^y), as icefall exports it for the layers."""
    log = build.op("Log", build.op("Add", build.op("Exp", y), build.constant(np.float32(1))))
    return build.op("Where", build.op("Equal", log, build.constant(np.float32(np.inf))), y, log)


def without_overflow(build, y):
    """The same as torch's `logaddexp` is exported, for the convolutions in front."""
    zero = build.constant(np.float32(0))
    size = build.op("Abs", build.op("Sub", zero, y))
    log = build.op("Log", build.op("Add", build.constant(np.float32(1)), build.op("Exp", build.op("Neg", size))))
    return build.op("Add", build.op("Max", zero, y), log)


def activation(softplus, centre, level, *, biased=True, x_goes_on=False):
    build = Builder(seed=0)
    bias = build.constant(np.linspace(-1, 1, WIDTH).astype(np.float32))
    x = build.op("Add", bias, "x") if biased else "x"
    line = build.op("Mul", x, build.constant(SLOPE))
    soft = softplus(build, build.op("Sub", x, build.constant(np.float32(centre))))
    build.named("Sub", "y", build.op("Sub", soft, line), build.constant(np.float32(level)))
    build.named("Identity", "new_cache", x if x_goes_on else "x")
    return graph_of(build, {"x": [len(X) // WIDTH, WIDTH]}, {"y": [len(X) // WIDTH, WIDTH], "new_cache": [8, WIDTH]})


def shortened(model):
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    nodes, added = shorten_swooshes(list(model.graph.node), constants)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in added.items())
    return model


@pytest.mark.parametrize(("softplus", "operators"), [(with_infinity, 9), (without_overflow, 12)])
@pytest.mark.parametrize(("centre", "level"), [(4.0, 0.035), (1.0, 0.313261687)])
def test_an_activation_is_what_it_was(softplus, operators, centre, level):
    model = activation(softplus, centre, level)
    x = X.reshape(-1, WIDTH)
    expected = swoosh(x + np.linspace(-1, 1, WIDTH), centre, level)
    np.testing.assert_allclose(run(model, {"x": x})["y"], expected, rtol=1e-5, atol=1e-5)
    assert len(model.graph.node) == operators + 2
    short = shortened(model)
    assert len(short.graph.node) == 7 + 2
    np.testing.assert_allclose(run(short, {"x": x})["y"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kept", [{"biased": False}, {"x_goes_on": True}])
def test_an_activation_whose_input_cannot_be_moved_is_left_alone(kept):
    model = activation(with_infinity, 4.0, 0.035, **kept)
    before = [node.SerializeToString() for node in model.graph.node]
    assert [node.SerializeToString() for node in shortened(model).graph.node] == before


def test_other_logarithms_are_left_alone():
    build = Builder(seed=0)
    build.named("Log", "y", build.op("Add", build.op("Exp", "x"), build.constant(np.float32(2))))
    build.named("Log", "new_cache", "x")
    model = graph_of(build, {"x": [8, WIDTH]}, {"y": [8, WIDTH], "new_cache": [8, WIDTH]})
    before = [node.SerializeToString() for node in model.graph.node]
    assert [node.SerializeToString() for node in shortened(model).graph.node] == before
