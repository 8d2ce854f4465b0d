"""Graphs of the layer shape of Nemotron Speech Streaming 0.6B, fewer layers, random weights: FP16 and TensorRT-RTX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("nemo.collections.asr", reason="NeMo lives in its own environment: make test-nemo")

from scripts.engines.accuracy import relative_errors
from scripts.engines.half import to_half
from scripts.engines.rtx import compile_graph, installed
from scripts.engines.shapes import ranges
from scripts.export.description import ModelDescription
from scripts.export.exporter import export_model
from scripts.export.layout import Layout
from scripts.export.onnx_runner import OnnxEncoder
from scripts.export.serving_options import ServingOptions
from tests.export.tiny_models import TinyModel

pytestmark = pytest.mark.timeout(1800)  # 60M parameters, on whatever processor there is

LARGE = TinyModel(
    n_mels=128,
    layers=2,
    model_dim=1024,
    heads=8,
    subsampling_channels=256,
    att_context=((70, 13),),
    use_bias=False,
    xscaling=False,
    prediction_layers=2,
    prediction_hidden=640,
)
MODELS = ("encoder", "encoder_batch", "decoder_joint")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, ModelDescription]:
    folder = tmp_path_factory.mktemp("large")
    model, checkpoint = LARGE.save(folder)
    layout = Layout(folder / "model-repo")
    return layout, export_model(model, checkpoint, layout, ServingOptions())


@pytest.fixture(scope="module")
def halves(exported: tuple[Layout, ModelDescription]) -> dict[str, Path]:
    """The FP16 graphs by model."""
    layout, _ = exported
    paths = {model: layout.root / model / "1" / "half.onnx" for model in MODELS}
    for path in paths.values():
        onnx.save(to_half(onnx.load(path.with_name("model.onnx"))), path)
    return paths


def test_fp16_stays_close_over_a_minute(exported: tuple[Layout, ModelDescription], halves: dict[str, Path]) -> None:
    layout, description = exported
    features = np.random.default_rng(0).standard_normal((description.mel.n_mels, 6000), np.float32)
    wanted = OnnxEncoder(layout.encoder, description)(features)
    got = OnnxEncoder(halves["encoder"], description)(features)
    assert max(relative_errors(wanted, got, description.streaming.encoder_frames)) < 5e-3


@pytest.mark.skipif(not installed(), reason="tensorrt-rtx-cu13 and polygraphy are not installed")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_accepted_by_the_parser_and_compiler_of_tensorrt_rtx(
    precision: str, model: str, exported: tuple[Layout, ModelDescription], halves: dict[str, Path]
) -> None:
    layout, description = exported
    graph = halves[model] if precision == "fp16" else layout.root / model / "1" / "model.onnx"
    verdict = compile_graph(graph, ranges(description, ServingOptions())[model])
    assert verdict.accepted, verdict.reason
