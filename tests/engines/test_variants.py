"""FP16, INT8 and FP8 graphs against FP32 in ONNX Runtime: chunk by chunk over a minute of speech, and to the token."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from scripts.engines.accuracy import relative_errors
from scripts.engines.precision import Precision
from scripts.engines.variants import write_variants
from scripts.export.onnx_runner import OnnxEncoder, open_graph, run_graph
from scripts.release.expected import compute, load_labels
from tests.engines.conftest import CLIPS, LAYOUT, ROOT

MINUTE = 6000
# Measured on the shipped weights 0.0011, 0.057 and 0.061, largest over a minute.
LARGEST_ERROR = {Precision.FP32: 0.0, Precision.FP16: 0.003, Precision.INT8: 0.1, Precision.FP8: 0.1}


@pytest.fixture(scope="module")
def stream(recordings):
    """A minute of real speech, [n_mels, frames]."""
    repeats = -(-MINUTE // sum(features.shape[1] for features in recordings))
    return np.concatenate(recordings * repeats, axis=1)[:, :MINUTE]


@pytest.mark.parametrize("model", ["encoder", "encoder_batch", "decoder_joint"])
@pytest.mark.parametrize("precision", list(Precision))
def test_inputs_outputs_and_states_stay_what_they_are(precision, model, variants):
    original, variant = (
        onnx.load(path).graph for path in (LAYOUT.root / model / "1/model.onnx", variants[precision][model])
    )
    for side in ("input", "output"):
        wanted, got = (
            {tensor.name: tensor.type.SerializeToString(deterministic=True) for tensor in getattr(graph, side)}
            for graph in (original, variant)
        )
        assert got == wanted


@pytest.mark.parametrize("precision", list(Precision))
def test_a_minute_of_speech_chunk_by_chunk(precision, variants, stream, description):
    """Errors stay small and do not grow: the last chunks are no farther off than the first ones with full caches."""
    wanted = OnnxEncoder(LAYOUT.encoder, description)(stream)
    got = OnnxEncoder(variants[precision]["encoder"], description, fuse_quantisers=precision.fused)(stream)
    errors = relative_errors(wanted, got, description.streaming.encoder_frames)
    assert len(errors) == -(-MINUTE // description.streaming.chunk_frames)
    assert max(errors) <= LARGEST_ERROR[precision]
    full = -(-description.encoder.left_context // description.streaming.encoder_frames)
    assert np.mean(errors[-20:]) <= 1.5 * np.mean(errors[full : full + 20])


@pytest.mark.parametrize("precision", list(Precision))
def test_whole_utterances(precision, variants, recordings):
    original = open_graph(LAYOUT.encoder_batch)
    variant = open_graph(variants[precision]["encoder_batch"], fuse_quantisers=precision.fused)
    for features in recordings:
        inputs = {"FEATURES": features[None], "FEATURES_LENGTH": np.array([[features.shape[1]]])}
        wanted, got = run_graph(original, inputs), run_graph(variant, inputs)
        assert got["ENCODED_LENGTH"].item() == wanted["ENCODED_LENGTH"].item()
        error = np.linalg.norm(got["ENCODED"] - wanted["ENCODED"]) / np.linalg.norm(wanted["ENCODED"])
        assert error <= LARGEST_ERROR[precision]


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_tokens_and_their_frames_are_those_of_fp32(precision, variants, tmp_path):
    repository = tmp_path / "model-repo"
    shutil.copytree(LAYOUT.root, repository)
    for model, path in variants[precision].items():
        shutil.copyfile(path, repository / model / "1" / "model.onnx")
    assert compute(repository, CLIPS).labels == load_labels(ROOT / "model-repo" / "expected_outputs.json")


def test_fp16_products_have_fp16_weights(variants):
    for model, path in variants[Precision.FP16].items():
        assert path.stat().st_size < 0.6 * variants[Precision.FP32][model].stat().st_size
        graph = onnx.load(path).graph
        types = {tensor.name: tensor.data_type for tensor in graph.initializer}
        products = [node for node in graph.node if node.op_type in {"MatMul", "Gemm", "Conv"}]
        weights = [types[name] for node in products for name in node.input if name in types]
        assert len(weights) > 2
        assert set(weights) == {TensorProto.FLOAT16}


@pytest.mark.parametrize("model", ["encoder", "encoder_batch"])
def test_int8_is_symmetric_and_by_explicit_pairs(model, variants):
    """What TensorRT takes: every zero point is 0, and nothing but Q/DQ pairs has integer weights or biases."""
    graph = onnx.load(variants[Precision.INT8][model]).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    products = sum(node.op_type in {"MatMul", "Gemm"} for node in graph.node)
    weights = [node for node in pairs if node.op_type == "DequantizeLinear" and node.input[0] in constants]
    assert len(weights) > 0.5 * products
    for node in pairs:
        zero_point = constants[node.input[2]]
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
        assert (constants[node.input[1]] > 0).all()
    assert not {"QLinearMatMul", "MatMulInteger", "DynamicQuantizeLinear"} & {node.op_type for node in graph.node}


@pytest.mark.parametrize("model", ["encoder", "encoder_batch"])
def test_fp8_is_by_explicit_pairs_and_weights_reach_its_largest_value(model, variants):
    graph = onnx.load(variants[Precision.FP8][model]).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    assert {constants[node.input[2]].data_type for node in pairs} == {TensorProto.FLOAT8E4M3FN}
    weights = [constants[node.input[0]] for node in pairs if node.input[0] in constants]
    assert len(weights) > 20
    for weight in weights:
        assert weight.data_type == TensorProto.FLOAT8E4M3FN
        assert np.abs(numpy_helper.to_array(weight).astype(np.float32)).max() == 448


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP8])
def test_decoder_joint_stays_in_fp16(precision, variants):
    fp16, quantised = (variants[chosen]["decoder_joint"] for chosen in (Precision.FP16, precision))
    assert fp16.read_bytes() == quantised.read_bytes()


def test_calibration_without_recordings_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no recordings"):
        write_variants(LAYOUT, Precision.INT8, tmp_path / "out", tmp_path)
