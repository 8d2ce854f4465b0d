"""A random model in the shape of a large one is a repository like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nemo.collections.asr", reason="NeMo lives in its own environment: make test-nemo")

from scripts.export import graph_files, onnx_graph
from scripts.export.description import ModelDescription
from scripts.export.exporter import export_checkpoint
from scripts.export.layout import Layout
from scripts.export.onnx_runner import OnnxEncoder
from scripts.export.serving_options import ServingOptions
from scripts.gpu.random_model import write_random_model
from tests.export.tiny_models import TinyModel

pytestmark = pytest.mark.timeout(1200)


def test_its_graphs_are_large_ones_and_its_configurations_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_files, "LARGEST_FILE", 50_000_000)
    layout = Layout(tmp_path / "model-repo")
    write_random_model(1, layout, ServingOptions(max_batch_size=64), (70, 1))
    description = ModelDescription.load(layout.description)
    assert (description.encoder.encoder_dim, description.mel.n_mels) == (1024, 128)
    assert description.streaming.encoder_frames == 2
    assert (description.transducer.prediction_layers, description.transducer.prediction_hidden) == (2, 640)
    for graph in (layout.encoder, layout.encoder_batch):
        weights = graph_files.weights_path(graph)
        assert weights.stat().st_size > 100e6 > graph.stat().st_size
    assert graph_files.files_of(layout.decoder_greedy) == [layout.decoder_greedy]
    assert "max_batch_size: 64" in (layout.root / "encoder" / "config.pbtxt").read_text()
    features = np.random.default_rng(0).standard_normal((128, 100), np.float32)
    encoded = OnnxEncoder(layout.encoder, description)(features)
    assert encoded.shape == (14, 1024)
    assert np.isfinite(encoded).all()


def test_a_large_graph_computes_what_nemo_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_files, "LARGEST_FILE", 10_000)
    monkeypatch.setattr(onnx_graph, "_SMALL_BYTES", 1_000)
    _, checkpoint = TinyModel().save(tmp_path)
    layout = Layout(tmp_path / "model-repo")
    _, differences = export_checkpoint(checkpoint, layout, ServingOptions())  # refuses what differs
    assert max(vars(differences).values()) < 1e-4
    for graph in (layout.encoder, layout.encoder_batch, layout.decoder_joint):
        assert len(graph_files.files_of(graph)) == 2
