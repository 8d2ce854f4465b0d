"""Label-looping finds the same labels as the plain frame-by-frame greedy search, for any batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_decoder.greedy import GreedySearch, JointOutput
from rnnt_decoder.hypothesis import PredictionShape

BLANK = 5
SHAPE = PredictionShape(layers=2, hidden=3, blank_id=BLANK)


class RandomJoint:
    """A deterministic random transducer: the label depends on the frame, the target and the LSTM state."""

    def __init__(self, seed, blankness):
        rng = np.random.default_rng(seed)
        self.embedding = rng.standard_normal((BLANK + 1, 3)).astype(np.float32)
        self.output = rng.standard_normal((3, BLANK + 1)).astype(np.float32)
        self.output_bias = np.zeros(BLANK + 1, np.float32)
        self.output_bias[BLANK] = blankness
        self.calls = 0

    def __call__(self, encoded, targets, state_h, state_c):
        self.calls += 1
        state_h = np.tanh(0.5 * state_h + self.embedding[targets[:, 0]][:, None])
        state_c = 0.9 * state_c + state_h
        logits = np.tanh(encoded + state_h[:, -1:] + 0.1 * state_c[:, :1]) @ self.output + self.output_bias
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        labels = log_probs.argmax(-1).astype(np.int32)
        return JointOutput(labels, np.take_along_axis(log_probs, labels[..., None], -1)[..., 0], state_h, state_c)


def frame_by_frame(encoded, joint, max_symbols):
    """The textbook search over one sequence [frames, dim]: tokens, frames, log-probabilities."""
    hypothesis = SHAPE.new_hypothesis()
    label, h, c = hypothesis.last_label, hypothesis.state_h[None], hypothesis.state_c[None]
    tokens, frames, log_probs = [], [], []
    for index, frame in enumerate(encoded):
        for _ in range(max_symbols):
            output = joint(frame[None, None], np.array([[label]], np.int32), h, c)
            if output.labels[0, 0] == BLANK:
                break
            label, h, c = int(output.labels[0, 0]), output.state_h, output.state_c
            tokens.append(label)
            frames.append(index)
            log_probs.append(float(output.log_probs[0, 0]))
    return tokens, frames, log_probs


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    blankness=st.floats(-3, 3),
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    max_symbols=st.integers(1, 4),
    window=st.integers(1, 15),
)
def test_equals_frame_by_frame_search(seed, blankness, lengths, max_symbols, window):
    joint = RandomJoint(seed, blankness)
    encoded = np.random.default_rng(seed).standard_normal((len(lengths), max(*lengths, 1), 3)).astype(np.float32)
    hypotheses = [SHAPE.new_hypothesis() for _ in lengths]
    GreedySearch(BLANK, max_symbols, window)(encoded, np.array(lengths), hypotheses, joint)
    for row, length, hypothesis in zip(encoded, lengths, hypotheses, strict=True):
        tokens, frames, log_probs = frame_by_frame(row[:length], joint, max_symbols)
        assert hypothesis.tokens == tokens
        assert hypothesis.frames == frames
        np.testing.assert_allclose(hypothesis.log_probs, log_probs, atol=1e-5)
        assert hypothesis.frames_decoded == length


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_chunks_equal_the_whole(seed, cuts):
    joint = RandomJoint(seed, 0.5)
    encoded = np.random.default_rng(seed).standard_normal((1, sum(cuts), 3)).astype(np.float32)
    search = GreedySearch(BLANK, 3, 4)
    whole, pieces = SHAPE.new_hypothesis(), SHAPE.new_hypothesis()
    search(encoded, np.array([sum(cuts)]), [whole], joint)
    for chunk in np.split(encoded, np.cumsum(cuts)[:-1], axis=1):
        search(chunk, np.array([chunk.shape[1]]), [pieces], joint)
    assert pieces.tokens == whole.tokens
    assert pieces.frames == whole.frames


def test_calls_do_not_grow_with_streams_or_frames():
    encoded = np.random.default_rng(1).standard_normal((64, 7, 3)).astype(np.float32)
    joint = RandomJoint(1, 1.0)
    hypotheses = [SHAPE.new_hypothesis() for _ in range(64)]
    GreedySearch(BLANK, 10, 7)(encoded, np.full(64, 7), hypotheses, joint)
    assert joint.calls <= max(len(hypothesis.tokens) for hypothesis in hypotheses) + 1


def test_a_failing_joint_leaves_hypotheses_untouched():
    class FailsLater(RandomJoint):
        def __call__(self, *args):
            if self.calls == 1:
                raise RuntimeError("joint is gone")
            return super().__call__(*args)

    hypothesis = SHAPE.new_hypothesis()
    encoded = np.random.default_rng(2).standard_normal((1, 7, 3)).astype(np.float32)
    with pytest.raises(RuntimeError, match="joint is gone"):
        GreedySearch(BLANK, 10, 7)(encoded, np.array([7]), [hypothesis], FailsLater(2, -5.0))
    assert hypothesis.tokens == []
    assert hypothesis.frames_decoded == 0
    assert not hypothesis.state_h.any()
