"""Every variant of the shipped graphs with its real profile: accepted by TensorRT-RTX's parser and compiler, or not.

No TensorRT engine is built and nothing runs: that takes a GPU.
"""

from __future__ import annotations

import subprocess
import sys

import onnx
import pytest
from onnx import TensorProto, helper

from scripts.engines.commands import build
from scripts.engines.engine_files import EngineFiles
from scripts.engines.precision import Precision
from scripts.engines.rtx import compile_graph, installed, rtx_environment
from scripts.engines.shapes import InputRange, ranges
from scripts.export.serving_options import ServingOptions

pytestmark = [
    pytest.mark.skipif(
        not installed(), reason=f"tensorrt-rtx-cu13 is not installed: no wheel for Python {sys.version_info.minor}?"
    ),
    pytest.mark.timeout(600),
]


@pytest.mark.parametrize("model", ["encoder", "encoder_batch", "decoder_joint"])
@pytest.mark.parametrize("precision", list(Precision))
def test_accepted_with_the_real_profile(precision, model, variants, description):
    verdict = compile_graph(variants[precision][model], ranges(description, ServingOptions())[model])
    assert verdict.accepted, verdict.reason
    assert verdict.megabytes > 0.1


def test_polygraphy_takes_the_command_of_a_build_and_keeps_the_timings(variants, description, tmp_path):
    """The very command of `make engines`, with TensorRT-RTX in the place of TensorRT."""
    files = EngineFiles(tmp_path / "decoder_joint", "none", "rtx", Precision.FP16)
    files.plan.parent.mkdir(parents=True)
    profile = ranges(description, ServingOptions())["decoder_joint"]
    command = build(variants[Precision.FP16]["decoder_joint"], files, profile)
    run = subprocess.run(command, env=rtx_environment(), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert files.plan.stat().st_size > 100_000
    assert files.timing_cache.exists()
    assert "STRONGLY_TYPED" in run.stdout


def test_an_unsupported_operator_is_refused_with_the_name_of_its_node(tmp_path):
    node = helper.make_node("Det", ["x"], ["y"], name="determinant_of_x")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 3, 3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B"])]
    graph = helper.make_graph([node], "negative", inputs, outputs)
    path = tmp_path / "negative.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    verdict = compile_graph(path, {"x": InputRange((1, 3, 3), (2, 3, 3), (4, 3, 3))})
    assert not verdict.accepted
    assert "determinant_of_x" in verdict.reason


def test_windows_beyond_the_table_of_positions_are_refused(variants, description):
    """TensorRT only warns of a profile whose largest shapes cannot hold; here that counts as refused."""
    profile = dict(ranges(description, ServingOptions())["encoder"])
    features = profile["FEATURES"]
    batch, n_mels, frames = features.largest
    profile["FEATURES"] = InputRange(features.least, features.usual, (batch, n_mels, frames + 17))
    verdict = compile_graph(variants[Precision.FP32]["encoder"], profile)
    assert not verdict.accepted
    assert "not self-consistent" in verdict.reason
