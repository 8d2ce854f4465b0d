"""The graphs around the original ones compute what these compute, step by step."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from rnnt_decoder.confidence import confidence
from scripts.export.onnx_runner import open_graph, run_graph
from scripts.export.zipformer.decoder_joint_graph import decoder_joint
from scripts.export.zipformer.encoder_graph import streaming_encoder, utterance_encoder
from scripts.export.zipformer.files import UnsupportedZipformerError, read_encoder
from tests.zipformer.reference import Reference
from tests.zipformer.synthetic import CHUNK, DIM, FRAMES, MELS, PIECES, WINDOW, write_decoder, write_joiner, write_model

RNG = np.random.default_rng(0)
BLANK = len(PIECES) - 1


@pytest.fixture(scope="module", params=[1, "N"], ids=["batch of 1", "any batch"])
def folder(request, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), batch=request.param)


def opened(model, path):
    onnx.save(model, path)
    return open_graph(path)


def frames(windows, rows=1):
    """Features of so many windows, [rows, frames, mels]."""
    return RNG.standard_normal((rows, windows and WINDOW + (windows - 1) * CHUNK, MELS)).astype(np.float32)


def zero_states(encoder, rows=1):
    types = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.INT64: np.int64}
    return {state.name: np.zeros((rows, *state.dims), types[state.dtype]) for state in encoder.states}


def step(session, features, states):
    """One request: returns its encoder frames [rows, frames, dim] and the next states."""
    length = np.full((len(features), 1), features.shape[1])
    outputs = run_graph(session, {"FEATURES": features.transpose(0, 2, 1), "FEATURES_LENGTH": length, **states})
    assert (outputs["ENCODED_LENGTH"] == outputs["ENCODED"].shape[1]).all()
    return outputs["ENCODED"], {name: outputs[f"{name}_next"] for name in states}


def test_any_split_into_requests_equals_the_original(folder, tmp_path):
    encoder = read_encoder(folder / "encoder-epoch-1.onnx")
    session = opened(streaming_encoder(encoder), tmp_path / "encoder.onnx")
    features = frames(6)
    # One frame more: the reference takes a window when there is one beyond it.
    expected = np.concatenate(list(Reference(folder).encode(np.pad(features[0], ((0, 1), (0, 0))))))
    states, encoded, first = zero_states(encoder), [], 0
    for windows in (0, 1, 2, 0, 3):
        stop = first + WINDOW + (windows - 1) * CHUNK if windows else first
        part, states = step(session, features[:, first:stop], states)
        assert part.shape == (1, windows * FRAMES, DIM)
        encoded.append(part[0])
        first += windows * CHUNK
    np.testing.assert_array_equal(np.concatenate(encoded), expected)
    whole = opened(utterance_encoder(encoder), tmp_path / "utterance.onnx")
    np.testing.assert_array_equal(step(whole, features, {})[0][0], expected)


def test_rows_of_a_batch_do_not_mix(tmp_path):
    encoder = read_encoder(write_model(tmp_path) / "encoder-epoch-1.onnx")
    session = opened(streaming_encoder(encoder), tmp_path / "wrapped.onnx")
    first, second = frames(2, rows=3), frames(1, rows=3)
    _, states = step(session, first, zero_states(encoder, rows=3))
    together, _ = step(session, second, states)
    for row in range(3):
        _, states = step(session, first[row : row + 1], zero_states(encoder))
        alone, _ = step(session, second[row : row + 1], states)
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)


def test_rows_without_a_window_yield_nothing(tmp_path):
    encoder = read_encoder(write_model(tmp_path) / "encoder-epoch-1.onnx")
    session = opened(streaming_encoder(encoder), tmp_path / "wrapped.onnx")
    encoded, states = step(session, frames(0, rows=2), zero_states(encoder, rows=2))
    assert encoded.shape == (2, 0, DIM)
    assert not any(values.any() for values in states.values())
    inputs = {"FEATURES": frames(1).transpose(0, 2, 1), "FEATURES_LENGTH": np.array([[0]]), **zero_states(encoder)}
    assert run_graph(session, inputs)["ENCODED_LENGTH"] == [[0]]


def test_state_names_sort_alike_on_both_sides(folder):
    names = [state.name for state in read_encoder(folder / "encoder-epoch-1.onnx").states]
    assert sorted(names) == names
    assert sorted(f"{name}_next" for name in names) == [f"{name}_next" for name in names]


@pytest.mark.parametrize("context", [2, 3])
@pytest.mark.parametrize("unknown", [2, None])
def test_decoder_joint_equals_decoder_and_joiner(tmp_path, context, unknown):
    write_decoder(tmp_path / "decoder.onnx", context=context)
    write_joiner(tmp_path / "joiner.onnx")
    decoder, joiner = onnx.load(tmp_path / "decoder.onnx"), onnx.load(tmp_path / "joiner.onnx")
    session = opened(decoder_joint(decoder, joiner, unknown), tmp_path / "both.onnx")
    originals = [open_graph(tmp_path / f"{kind}.onnx") for kind in ("decoder", "joiner")]
    rows, frame_count = 4, 50
    labels = RNG.integers(0, BLANK, (rows, 5))
    state = np.zeros((rows, 1, context - 1), np.float32)
    target = np.full((rows, 1), BLANK, np.int32)
    y = np.array([[-1] * (context - 1) + [0]] * rows)
    unknowns = 0
    for label in labels.T:
        encoded = RNG.standard_normal((rows, frame_count, DIM)).astype(np.float32)
        outputs = run_graph(
            session, {"ENCODED": encoded, "TARGET": target, "STATE_H": state, "STATE_C": np.zeros_like(state)}
        )
        prediction = run_graph(originals[0], {"y": y})["decoder_out"].repeat(frame_count, axis=0)
        logits = run_graph(originals[1], {"encoder_out": encoded.reshape(-1, DIM), "decoder_out": prediction})["logit"]
        best = logits.argmax(axis=1)
        unknowns += int((best == 2).sum())
        expected = np.where((best == 0) | (best == unknown), BLANK, best - 1)
        np.testing.assert_array_equal(outputs["LABEL"].ravel(), expected)
        log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(outputs["LABEL_LOG_PROB"].ravel(), log_probs.max(axis=1), atol=1e-5)
        np.testing.assert_array_equal(outputs["LOG_PROBS"].argmax(axis=2), outputs["LABEL"])
        np.testing.assert_allclose(outputs["LABEL_CONFIDENCE"], confidence(outputs["LOG_PROBS"]), atol=1e-5)
        others = [index for index in range(BLANK) if index + 1 != unknown]
        ours = outputs["LOG_PROBS"].reshape(-1, len(PIECES))
        np.testing.assert_allclose(ours[:, others], log_probs[:, np.array(others) + 1], atol=1e-5)
        assert np.isfinite(ours).all()
        state, target = outputs["STATE_H_NEXT"], label[:, None].astype(np.int32)
        y = np.concatenate([y[:, 1:], label[:, None] + 1], axis=1)
    assert unknowns > 20


def test_a_joiner_that_mixes_its_rows_is_refused(tmp_path):
    write_decoder(tmp_path / "decoder.onnx")
    write_joiner(tmp_path / "joiner.onnx", quantised=True)
    with pytest.raises(UnsupportedZipformerError, match="float joiner"):
        decoder_joint(onnx.load(tmp_path / "decoder.onnx"), onnx.load(tmp_path / "joiner.onnx"), None)
