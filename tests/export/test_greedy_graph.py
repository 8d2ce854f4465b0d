"""decoder_greedy is made of decoder_joint, and takes what its configuration says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (requirements/dev.txt)")

from scripts.export.greedy_graph import greedy_graph, save_greedy_graph  # noqa: E402
from scripts.export.layout import Layout  # noqa: E402
from scripts.export.onnx_runner import open_graph, run_graph  # noqa: E402

LAYOUT = Layout(Path(__file__).parents[2] / "model-repo")


def test_the_shipped_graph_is_made_of_the_shipped_joint(tmp_path):
    save_greedy_graph(LAYOUT.decoder_joint, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == LAYOUT.decoder_greedy.read_bytes()


def test_a_joint_with_durations_is_refused():
    joint = onnx.load(LAYOUT.decoder_joint)
    joint.graph.output.append(onnx.helper.make_tensor_value_info("DURATION", onnx.TensorProto.INT32, ["B", "T"]))
    with pytest.raises(ValueError, match="without durations"):
        greedy_graph(joint)


def test_rows_without_frames_have_no_label():
    session = open_graph(LAYOUT.decoder_greedy)
    feeds = {
        "ENCODED": np.ones((2, 1, 144), np.float32),
        "ENCODED_LENGTH": np.zeros((2, 1), np.int64),
        "MAX_SYMBOLS": np.ones((2, 1), np.int32),
        "TARGET": np.full((2, 1), 128, np.int32),
        "STATE_H": np.ones((2, 1, 192), np.float32),
        "STATE_C": np.ones((2, 1, 192), np.float32),
    }
    outputs = run_graph(session, feeds)
    assert outputs["LABEL"].tolist() == [[128], [128]]
    np.testing.assert_array_equal(outputs["STATE_H_NEXT"], feeds["STATE_H"])
