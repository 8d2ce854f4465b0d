"""The sizing model: its tables are those of the page, and it moves the way a roofline must."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from scripts.engines.sizing import CHUNK_FRAMES, ENCODERS, GPUS, Encoder, table
from tests.engines.conftest import ROOT

LARGE, GPU = ENCODERS[0], GPUS[-1]
GRAPH = ROOT / "model-repo" / "encoder" / "1" / "model.onnx"


@pytest.fixture
def shipped(description):
    shape = description.encoder
    heads = next(
        item.dims[0]
        for item in onnx.load(GRAPH).graph.initializer
        if len(item.dims) == 3 and item.dims[1:] == [shape.model_dim, shape.model_dim // item.dims[0]]
    )
    return Encoder("ours", shape.layers, shape.model_dim, heads, shape.left_context, shape.convolution_context)


def test_the_page_has_the_tables_that_are_computed():
    page = (ROOT / "docs" / "sizing.md").read_text()
    for encoder in ENCODERS:
        assert table(encoder) in page


def test_weights_and_caches_are_those_of_the_shipped_encoder(shipped, description):
    """The formula leaves out the subsampling and the norms, a sixth of this small model."""
    shape = description.encoder
    floats = sum(a * b * c for a, b, c in (shape.cache_channel, shape.cache_time))
    assert shipped.cache_bytes == 4 * floats
    parameters = GRAPH.stat().st_size / 4
    assert 0.75 * parameters < shipped.weights < parameters


@pytest.mark.parametrize("frames", [1, 7])
def test_the_operations_are_those_of_the_exported_graph(shipped, frames, description):
    """Every product and convolution of its layers, counted with the shapes that they really have."""
    model = onnx.load(GRAPH)
    layers = [
        node for node in model.graph.node if node.op_type in {"MatMul", "Conv"} and node.name.startswith("/layers.")
    ]
    weights = {item.name: list(item.dims) for item in model.graph.initializer}
    taken = [name for node in layers for name in (*node.input, *node.output) if name not in weights]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(taken))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    inputs = {}
    for item in session.get_inputs():
        shape = [{"B": 1, "T": 8 * frames + 9}.get(size, size) for size in item.shape]
        inputs[item.name] = np.zeros(shape, np.int64 if "int64" in item.type else np.float32)
    names = [item.name for item in session.get_outputs()]
    shapes = weights | {name: list(value.shape) for name, value in zip(names, session.run(None, inputs), strict=True)}
    products = 0
    for node in layers:
        depth = shapes[node.input[0]][-1:] if node.op_type == "MatMul" else shapes[node.input[1]][1:]
        products += math.prod(shapes[node.output[0]]) * math.prod(depth)
    assert 2 * products == shipped.step_flops(frames)


def test_a_larger_batch_never_makes_a_stream_dearer():
    costs = [LARGE.step_secs(GPU, 4, batch) / batch for batch in (1, 2, 8, 64, 512)]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("gpu", GPUS)
def test_longer_chunks_serve_no_fewer_streams_and_memory_is_the_limit(encoder, gpu):
    streams = [encoder.streams(gpu, frames) for frames in CHUNK_FRAMES]
    assert streams == sorted(streams)
    assert streams[-1] * 2 * encoder.cache_bytes <= gpu.gigabytes * 1e9
    assert encoder.streams(replace(gpu, gigabytes=0.5), 14) == 0 or encoder is not LARGE


def test_the_slower_of_arithmetic_and_traffic_decides():
    starved = replace(GPU, gigabytes_per_sec=1.0)
    weak = replace(GPU, tflops=0.1)
    assert LARGE.step_secs(starved, 4, 8) > 100 * LARGE.step_secs(GPU, 4, 8)
    assert LARGE.step_secs(weak, 4, 8) == pytest.approx(8 * LARGE.step_flops(4) / (0.35 * 0.1e12))
