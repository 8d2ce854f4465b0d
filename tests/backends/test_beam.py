"""Beam search: greedy is its special case, it finds better hypotheses, and streaming equals offline."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_decoder.beam import Beam
from rnnt_decoder.decoder import Chunk
from rnnt_decoder.hypothesis import Hypothesis
from tests.backends.transducers import BLANK, SHAPE, RandomJoint, decode, heard, new_decoder, new_stream, random_frames


def beam_of_one():
    """A stream that is decoded by the beam search although its beam has room for one hypothesis only."""
    stream = new_stream()
    stream.search = Beam.of(SHAPE.new_hypothesis())
    return stream


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000), blankness=st.floats(-2, 3), frames=st.integers(0, 14), max_symbols=st.integers(1, 4)
)
def test_a_beam_of_one_equals_greedy(seed, blankness, frames, max_symbols):
    joint, audio = RandomJoint(seed, blankness), random_frames(seed, frames)
    decoder = new_decoder(max_symbols)
    (greedy,), (beam,) = (decode(decoder, joint, [stream], [[audio]]) for stream in (new_stream(), beam_of_one()))
    assert isinstance(beam_of_one().search, Beam)
    assert isinstance(new_stream().search, Hypothesis)
    assert [heard(segment) for segment in beam] == [heard(segment) for segment in greedy]
    np.testing.assert_allclose(beam[0].tokens.log_probs, greedy[0].tokens.log_probs, atol=1e-5)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    blankness=st.floats(-1, 3),
    cuts=st.lists(st.integers(0, 5), min_size=1, max_size=7),
    beam_size=st.integers(2, 6),
)
def test_streaming_equals_offline(seed, blankness, cuts, beam_size):
    joint, audio = RandomJoint(seed, blankness), random_frames(seed, sum(cuts))
    decoder = new_decoder()
    options = {"beam_size": beam_size, "n_best": beam_size}
    (whole,) = decode(decoder, joint, [new_stream(**options)], [[audio]])
    (pieces,) = decode(decoder, joint, [new_stream(**options)], [np.split(audio, np.cumsum(cuts)[:-1])])
    assert [heard(segment) for segment in pieces] == [heard(segment) for segment in whole]
    for one, other in zip(pieces[0].alternatives, whole[0].alternatives, strict=True):
        assert one.tokens.ids == other.tokens.ids
        assert one.score == pytest.approx(other.score, abs=1e-4)


def log_probability(joint, audio, labels, max_symbols):
    """Log-probability of a label sequence, summed over all its alignments by the textbook recursion."""
    state = SHAPE.new_hypothesis()
    rows = []
    label, h, c = BLANK, state.state_h[None], state.state_c[None]
    for following in [*labels, None]:
        output = joint.distributions(audio[None], np.array([[label]], np.int32), h, c)
        rows.append(output.log_probs[0])
        label, h, c = following, output.state_h, output.state_c
    total = -math.inf
    frames, count = len(audio), len(labels)
    for per_frame in itertools.product(range(max_symbols + 1), repeat=frames):
        if sum(per_frame) != count:
            continue
        score, done = 0.0, 0
        for frame, symbols in enumerate(per_frame):
            for _ in range(symbols):
                score += rows[done][frame, labels[done]]
                done += 1
            score += rows[done][frame, BLANK]
        total = np.logaddexp(total, score)
    return total


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_wide_beam_finds_the_most_probable_labels_with_their_probability(seed):
    joint, audio, max_symbols = RandomJoint(seed, 1.0), random_frames(seed, 2), 2
    sequences = [labels for n in range(3) for labels in itertools.product(range(BLANK), repeat=n)]
    scores = {labels: log_probability(joint, audio, labels, max_symbols) for labels in sequences}
    decoder = new_decoder(max_symbols)
    stream = new_stream(beam_size=1000, n_best=1000, length_normalization=False)
    ((segment,),) = decode(decoder, joint, [stream], [[audio]])
    found = {tuple(one.tokens.ids): one.score for one in segment.alternatives}
    for labels in sequences:
        assert found[labels] == pytest.approx(scores[labels], abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(1, 5), min_size=2, max_size=8))
def test_stable_tokens_never_change(seed, cuts):
    joint = RandomJoint(seed, 1.0)
    decoder, stream = new_decoder(), new_stream(beam_size=4)
    stable: list[tuple[int, int]] = []
    for piece in np.split(random_frames(seed, sum(cuts)), np.cumsum(cuts)[:-1]):
        decoder.decode([Chunk(stream, piece, finalize=False, end=False)], joint)
        tokens = stream.alternatives()[0].tokens
        now = list(zip(tokens.ids, tokens.frames, strict=True))
        assert now[: len(stable)] == stable
        stable = now[: stream.stable_tokens]


def test_streams_with_other_options_do_not_meet():
    joint = RandomJoint(3, 1.0)
    audio = [random_frames(seed, 5 + seed) for seed in range(6)]
    options = [{}, {"beam_size": 2}, {"beam_size": 5}, {}, {"beam_size": 3, "n_best": 3}, {"beam_size": 2}]
    decoder = new_decoder()
    alone = [
        decode(decoder, joint, [new_stream(**each)], [[piece]])[0] for each, piece in zip(options, audio, strict=True)
    ]
    together = decode(decoder, joint, [new_stream(**each) for each in options], [[piece] for piece in audio])
    for one, other in zip(alone, together, strict=True):
        assert heard(one[0]) == heard(other[0])


def test_a_wider_beam_finds_more_probable_labels_on_average():
    """Not for every utterance: a wide beam may drop what leads a narrow one to a better end."""
    decoder, options = new_decoder(), {"length_normalization": False}

    def mean_score(size):
        joint, streams = RandomJoint(11, 0.5), [new_stream(beam_size=size, **options) for _ in range(20)]
        found = decode(decoder, joint, streams, [[random_frames(seed, 10)] for seed in range(20)])
        return np.mean([segment.alternatives[0].score for (segment,) in found])

    assert mean_score(2) + 0.5 < mean_score(4) < mean_score(8) - 0.5
