"""Graphs whose weights lie in a file beside them, as those above 2 GB do, behind the links of a staged repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_sequence.caches import StateTensor
from onnx_sequence.opening import load_runner
from onnx_sequence.runner import Execution
from scripts.engines.precision import Precision
from scripts.export import graph_files
from scripts.export.layout import Layout

REPOSITORY = Path(__file__).resolve().parents[2] / "model-repo"
try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed here: make test-nemo")


@pytest.fixture
def staged(tmp_path, monkeypatch):
    """The encoder as a large graph, behind links."""
    monkeypatch.setattr(graph_files, "LARGEST_FILE", 100_000)
    made, links = tmp_path / "made", tmp_path / "staged"
    graph_files.save_graph(onnx.load(REPOSITORY / "encoder" / "1" / "model.onnx"), made / "model.onnx")
    links.mkdir()
    for path in graph_files.files_of(made / "model.onnx"):
        (links / path.name).symlink_to(path)
    assert sorted(path.name for path in links.iterdir()) == ["model.onnx", "model.onnx.data"]
    return links / "model.onnx"


@pytest.mark.parametrize("execution", ["cpu", "onnxruntime:cpu", pytest.param("torch:cpu", marks=needs_torch)])
def test_they_are_run_as_the_others(staged, execution):
    states = [
        StateTensor("cache_channel", "cache_channel_next", np.float32, (8, 70, 144)),
        StateTensor("cache_len", "cache_len_next", np.int64, (1,)),
        StateTensor("cache_time", "cache_time_next", np.float32, (8, 144, 8)),
    ]
    features = np.random.default_rng(0).standard_normal((1, 80, 65)).astype(np.float32)
    inputs = {"FEATURES": features, "FEATURES_LENGTH": np.array([[65]])}
    frames = []
    for path, way in ((REPOSITORY / "encoder" / "1" / "model.onnx", "cpu"), (staged, execution)):
        runner = load_runner(path, Execution.parse(way), states, slots=1, threads=1)
        slot = runner.acquire()
        frames.append([runner.advance(inputs, [slot], ["ENCODED"])["ENCODED"] for _ in range(3)])
    np.testing.assert_allclose(frames[1], frames[0], atol=2e-5)


def test_a_smaller_graph_in_its_place_leaves_no_weights_behind(staged, monkeypatch):
    path = staged.resolve()
    for largest, files in ((100_000, 2), (10**9, 1), (100_000, 2)):
        monkeypatch.setattr(graph_files, "LARGEST_FILE", largest)
        graph_files.save_graph(onnx.load(path), path)
        assert len(graph_files.files_of(path)) == files
        assert {item.stat().st_mode for item in graph_files.files_of(path)} == {path.stat().st_mode}
        if files == 2:
            assert graph_files.weights_path(path).stat().st_size < 30e6  # onnx appends to a file that is there


def test_variants_in_full_precision_do_not_share_a_file_of_weights(tmp_path, monkeypatch):
    variants = pytest.importorskip("scripts.engines.variants", reason="the client is not installed here: make test")
    monkeypatch.setattr(graph_files, "LARGEST_FILE", 100_000)
    written = variants.write_variants(Layout(REPOSITORY), Precision.FP32, tmp_path, tmp_path)
    assert {len(graph_files.files_of(path)) for path in written.values()} == {2}
    for model, path in written.items():
        original = onnx.load(REPOSITORY / model / "1" / "model.onnx").graph.initializer
        assert [x.raw_data for x in onnx.load(path).graph.initializer] == [x.raw_data for x in original]


def test_a_large_graph_in_half_precision_is_that_of_a_small_one(monkeypatch):
    half = pytest.importorskip("scripts.engines.half", reason="onnxruntime.transformers is not installed")
    path = REPOSITORY / "encoder" / "1" / "model.onnx"
    wanted = half.to_half(onnx.load(path))
    monkeypatch.setattr(graph_files, "LARGEST_FILE", 100_000)
    got = half.to_half(onnx.load(path))
    assert [(node.op_type, *node.input, *node.output) for node in got.graph.node] == [
        (node.op_type, *node.input, *node.output) for node in wanted.graph.node
    ]
    assert sum(item.data_type == onnx.TensorProto.FLOAT16 for item in got.graph.initializer) > 100
