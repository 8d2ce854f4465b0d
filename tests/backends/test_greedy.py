"""Label-looping finds the same labels as the plain frame-by-frame greedy search, for any batch."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_decoder.greedy import GreedySearch
from tests.backends.transducers import (
    BLANK,
    SHAPE,
    VOCABULARY,
    RandomJoint,
    decode,
    heard,
    new_decoder,
    new_stream,
    random_frames,
)


def frame_by_frame(encoded, joint, max_symbols):
    """The textbook search over one sequence [frames, dim]: tokens, frames, log-probabilities, confidences."""
    hypothesis = SHAPE.new_hypothesis()
    label, h, c = hypothesis.last_label, hypothesis.state_h[None], hypothesis.state_c[None]
    found = []
    index = symbols = 0
    while index < len(encoded):
        output = joint.best(encoded[None, index : index + 1], np.array([[label]], np.int32), h, c)
        duration = int(output.durations[0, 0]) if output.durations is not None else 0
        if output.labels[0, 0] == BLANK:
            index, symbols = index + max(1, duration), 0
            continue
        label, h, c = int(output.labels[0, 0]), output.state_h, output.state_c
        found.append((label, index, float(output.log_probs[0, 0]), float(output.confidences[0, 0])))
        symbols = 0 if duration else symbols + 1
        index += duration
        if symbols == max_symbols:
            index, symbols = index + 1, 0
    return [list(column) for column in zip(*found, strict=True)] or [[], [], [], []]


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    blankness=st.floats(-3, 3),
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    max_symbols=st.integers(1, 4),
    window=st.integers(1, 15),
    durations=st.sampled_from([(), (0, 1, 2, 4), (0, 1), (1, 3)]),
)
def test_equals_frame_by_frame_search(seed, blankness, lengths, max_symbols, window, durations):  # noqa: PLR0917
    joint = RandomJoint(seed, blankness, durations)
    encoded = np.random.default_rng(seed).standard_normal((len(lengths), max(*lengths, 1), 3)).astype(np.float32)
    streams = [new_stream() for _ in lengths]
    GreedySearch(BLANK, max_symbols, window, VOCABULARY)(encoded, np.array(lengths), streams, joint)
    for row, length, stream in zip(encoded, lengths, streams, strict=True):
        ids, frames, log_probs, confidences = frame_by_frame(row[:length], joint, max_symbols)
        tokens = stream.search.tokens
        assert tokens.ids == ids
        assert tokens.frames == frames
        np.testing.assert_allclose(tokens.log_probs, log_probs, atol=1e-5)
        np.testing.assert_allclose(tokens.confidences, confidences, atol=1e-5)
        assert stream.frames == length


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    durations=st.sampled_from([(), (0, 1, 2, 4, 9)]),
)
def test_chunks_equal_the_whole(seed, cuts, durations):
    joint = RandomJoint(seed, 0.5, durations)
    frames = random_frames(seed, sum(cuts))
    decoder = new_decoder()
    (whole,) = decode(decoder, joint, [new_stream()], [[frames]])
    (pieces,) = decode(decoder, joint, [new_stream()], [np.split(frames, np.cumsum(cuts)[:-1])])
    assert [heard(segment) for segment in pieces] == [heard(segment) for segment in whole]


def test_calls_do_not_grow_with_streams_or_frames():
    encoded = np.random.default_rng(1).standard_normal((64, 7, 3)).astype(np.float32)
    joint = RandomJoint(1, 1.0)
    streams = [new_stream() for _ in range(64)]
    GreedySearch(BLANK, 10, 7, VOCABULARY)(encoded, np.full(64, 7), streams, joint)
    assert joint.calls <= max(len(stream.search.tokens) for stream in streams) + 1
