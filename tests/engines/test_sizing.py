"""The sizing model: its tables are those of the page, and it moves the way a roofline must."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.engines.sizing import CHUNK_FRAMES, ENCODERS, GPUS, Encoder, table
from tests.engines.conftest import ROOT

LARGE, GPU = ENCODERS[0], GPUS[-1]


def test_the_page_has_the_tables_that_are_computed():
    page = (ROOT / "docs" / "sizing.md").read_text()
    for encoder in ENCODERS:
        assert table(encoder) in page


def test_weights_and_caches_are_those_of_the_shipped_encoder(description):
    """The formula leaves out the subsampling and the norms, a sixth of this small model."""
    shape = description.encoder
    encoder = Encoder("ours", shape.layers, shape.model_dim, shape.left_context, shape.convolution_context)
    floats = sum(a * b * c for a, b, c in (shape.cache_channel, shape.cache_time))
    assert encoder.cache_bytes == 4 * floats
    parameters = (ROOT / "model-repo" / "encoder" / "1" / "model.onnx").stat().st_size / 4
    assert 0.75 * parameters < encoder.weights < parameters


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
