"""The ONNX files of model-repo against the goldens of NeMo, in plain ONNX Runtime: no server, no NeMo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from rnnt_decoder.confidence import confidence
from scripts.export.description import ModelDescription
from scripts.export.layout import Layout
from scripts.export.onnx_runner import Arrays, OnnxEncoder, empty_caches, open_graph, run_graph
from scripts.export.windows import Window, cut
from scripts.goldens import Goldens

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = Layout(ROOT / "model-repo")
TOLERANCE = 1e-4
_ONNX_TYPES = {pb.TYPE_FP32: "tensor(float)", pb.TYPE_INT32: "tensor(int32)", pb.TYPE_INT64: "tensor(int64)"}


@pytest.fixture(scope="module")
def description() -> ModelDescription:
    return ModelDescription.load(LAYOUT.description)


@pytest.fixture(scope="module")
def goldens() -> Goldens:
    return Goldens.load(ROOT / "tests" / "goldens")


@pytest.fixture(scope="module")
def encoder(description: ModelDescription) -> OnnxEncoder:
    return OnnxEncoder(LAYOUT.encoder, description)


@pytest.fixture(scope="module")
def encoder_batch() -> onnxruntime.InferenceSession:
    return open_graph(LAYOUT.encoder_batch)


@pytest.fixture(scope="module")
def decoder_joint() -> onnxruntime.InferenceSession:
    return open_graph(LAYOUT.decoder_joint)


def test_goldens_and_models_come_from_the_same_checkpoint(description: ModelDescription, goldens: Goldens) -> None:
    assert goldens.origin.checkpoint_sha256 == description.source.sha256
    assert goldens.origin.att_context == description.streaming.att_context


@pytest.mark.parametrize("name", ["encoder", "encoder_batch", "decoder_joint"])
def test_graph_has_the_tensors_of_its_configuration(name: str) -> None:
    config = text_format.Parse((LAYOUT.root / name / "config.pbtxt").read_text(), pb.ModelConfig())
    inputs = [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.input]
    outputs = [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.output]
    for state in config.sequence_batching.state:
        inputs.append((state.input_name, state.data_type, list(state.dims)))
        outputs.append((state.output_name, state.data_type, list(state.dims)))
    session = open_graph(LAYOUT.root / name / "1" / "model.onnx")
    for configured, actual in ((inputs, session.get_inputs()), (outputs, session.get_outputs())):
        graph = {
            tensor.name: (tensor.type, [-1 if isinstance(size, str) else size for size in tensor.shape])
            for tensor in actual
        }
        assert graph == {name: (_ONNX_TYPES[data_type], [-1, *dims]) for name, data_type, dims in configured}


def test_graphs_are_small_enough_to_ship() -> None:
    total = sum(path.stat().st_size for path in (LAYOUT.encoder, LAYOUT.encoder_batch, LAYOUT.decoder_joint))
    assert total <= 40e6


def test_streaming_encoder_equals_offline_nemo(encoder: OnnxEncoder, goldens: Goldens) -> None:
    encoded = encoder(goldens.tensors.features)
    np.testing.assert_allclose(encoded, goldens.tensors.encoded, atol=TOLERANCE)


def test_batch_encoder_equals_offline_nemo(encoder_batch: onnxruntime.InferenceSession, goldens: Goldens) -> None:
    features = goldens.tensors.features
    outputs = run_graph(encoder_batch, {"FEATURES": features[None], "FEATURES_LENGTH": np.array([[features.shape[1]]])})
    np.testing.assert_allclose(outputs["ENCODED"][0], goldens.tensors.encoded, atol=TOLERANCE)
    assert outputs["ENCODED_LENGTH"].item() == len(goldens.tensors.encoded)


def test_first_and_later_chunks_share_a_batch(
    encoder: OnnxEncoder, goldens: Goldens, description: ModelDescription
) -> None:
    """Four streams, each a chunk behind the one before, stepped together, give what each gives alone."""
    features = goldens.tensors.features
    alone = encoder(features)
    windows = list(cut(features, description.streaming))[:-1]  # the last may be longer: a batch of its own
    streams = 4
    caches = [empty_caches(description.encoder, 1) for _ in range(streams)]
    collected: list[list[np.ndarray]] = [[] for _ in range(streams)]
    for step in range(len(windows) + streams - 1):
        rows = [row for row in range(streams) if 0 <= step - row < len(windows)]
        joined = {name: np.concatenate([caches[row][name] for row in rows]) for name in caches[0]}
        frames, next_caches = encoder.step([windows[step - row] for row in rows], joined)
        for position, row in enumerate(rows):
            caches[row] = {name: array[position : position + 1] for name, array in next_caches.items()}
            collected[row].append(frames[position])
    for frames in collected:
        encoded = np.concatenate(frames)
        np.testing.assert_allclose(encoded, alone[: len(encoded)], atol=TOLERANCE)
        assert len(encoded) == description.streaming.encoder_frames * len(windows)


@pytest.mark.parametrize("chunk", ["first", "later"])
@pytest.mark.parametrize("empty", ["zero", "old frames only"])
def test_window_without_new_frames_yields_nothing(
    chunk: str, empty: str, encoder: OnnxEncoder, goldens: Goldens, description: ModelDescription
) -> None:
    streaming = description.streaming
    caches = empty_caches(description.encoder, 1)
    old = streaming.left_pad_frames
    if chunk == "later":
        _, caches = encoder.step([next(cut(goldens.tensors.features, streaming))], caches)
        old = streaming.pre_encode_cache_frames
    window = np.zeros((description.mel.n_mels, streaming.window_frames), np.float32)
    (frames,), next_caches = encoder.step([Window(window, 0 if empty == "zero" else old)], caches)
    assert len(frames) == 0
    assert all(np.isfinite(array).all() for array in next_caches.values())


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9, 3000, 6500])
def test_batch_encoder_takes_any_length(
    frames: int, encoder_batch: onnxruntime.InferenceSession, description: ModelDescription
) -> None:
    features = np.random.default_rng(frames).standard_normal((1, description.mel.n_mels, frames)).astype(np.float32)
    outputs = run_graph(encoder_batch, {"FEATURES": features, "FEATURES_LENGTH": np.array([[frames]])})
    length = frames
    for _ in range(3):
        length = length // 2 + 1
    assert outputs["ENCODED_LENGTH"].item() == outputs["ENCODED"].shape[1] == length
    assert np.isfinite(outputs["ENCODED"]).all()


def test_batch_encoder_ignores_the_padding_of_shorter_rows(
    encoder_batch: onnxruntime.InferenceSession, goldens: Goldens
) -> None:
    features = goldens.tensors.features
    half = features.shape[1] // 2
    short = np.full_like(features, 7.0)
    short[:, :half] = features[:, :half]
    together = run_graph(
        encoder_batch,
        {
            "FEATURES": np.stack([features, short, features]),
            "FEATURES_LENGTH": np.array([[features.shape[1]], [half], [0]]),
        },
    )
    alone = run_graph(encoder_batch, {"FEATURES": features[None, :, :half], "FEATURES_LENGTH": np.array([[half]])})
    length = alone["ENCODED_LENGTH"].item()
    assert together["ENCODED_LENGTH"][:, 0].tolist() == [len(goldens.tensors.encoded), length, 0]
    np.testing.assert_allclose(together["ENCODED"][1, :length], alone["ENCODED"][0], atol=TOLERANCE)


def test_greedy_search_finds_the_tokens_of_nemo(
    encoder: OnnxEncoder, decoder_joint: onnxruntime.InferenceSession, goldens: Goldens, description: ModelDescription
) -> None:
    golden = goldens.clips[goldens.tensors.path]
    tokens, frames = _greedy(decoder_joint, encoder(goldens.tensors.features), description)
    assert tokens == golden.tokens == golden.streaming_tokens
    assert frames == golden.token_frames


def _greedy(
    joint: onnxruntime.InferenceSession, encoded: np.ndarray, description: ModelDescription
) -> tuple[list[int], list[int]]:
    """The textbook loop of Graves (2012), one frame and one label at a time."""
    shape = description.transducer
    state = np.zeros((1, shape.prediction_layers, shape.prediction_hidden), np.float32)
    inputs: Arrays = {"STATE_H": state, "STATE_C": state, "TARGET": np.array([[shape.blank_id]], np.int32)}
    tokens, token_frames = [], []
    for index, frame in enumerate(encoded):
        for _ in range(shape.max_symbols_per_step):
            outputs = run_graph(joint, {"ENCODED": frame[None, None], **inputs})
            label = outputs["LABEL"].item()
            if label == shape.blank_id:
                break
            tokens.append(label)
            token_frames.append(index)
            inputs = {
                "STATE_H": outputs["STATE_H_NEXT"],
                "STATE_C": outputs["STATE_C_NEXT"],
                "TARGET": np.array([[label]], np.int32),
            }
    return tokens, token_frames


def test_decoder_joint_outputs_agree_with_each_other(
    decoder_joint: onnxruntime.InferenceSession, goldens: Goldens, description: ModelDescription
) -> None:
    shape = description.transducer
    targets = np.array([[shape.blank_id], [0], [shape.vocabulary_size - 1]], np.int32)
    state = np.random.default_rng(0).standard_normal((3, shape.prediction_layers, shape.prediction_hidden))
    encoded = goldens.tensors.encoded[None, :6].repeat(3, axis=0)
    inputs: Arrays = {"STATE_H": state.astype(np.float32), "STATE_C": -state.astype(np.float32), "TARGET": targets}
    outputs = run_graph(decoder_joint, {"ENCODED": encoded, **inputs})
    np.testing.assert_allclose(np.exp(outputs["LOG_PROBS"]).sum(axis=-1), 1.0, atol=TOLERANCE)
    np.testing.assert_array_equal(outputs["LABEL"], outputs["LOG_PROBS"].argmax(axis=-1))
    np.testing.assert_allclose(outputs["LABEL_LOG_PROB"], outputs["LOG_PROBS"].max(axis=-1), atol=1e-6)
    np.testing.assert_allclose(outputs["LABEL_CONFIDENCE"], confidence(outputs["LOG_PROBS"]), atol=1e-5)
    # Rows and frames do not touch each other.
    single = {name: array[1:2] for name, array in inputs.items()}
    alone = run_graph(decoder_joint, {"ENCODED": encoded[1:2, 3:4], **single})
    np.testing.assert_allclose(alone["LOG_PROBS"][0, 0], outputs["LOG_PROBS"][1, 3], atol=TOLERANCE)
    np.testing.assert_allclose(alone["STATE_C_NEXT"][0], outputs["STATE_C_NEXT"][1], atol=TOLERANCE)
