"""Segments: where they end, and that it does not matter how the audio was sent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_decoder.endpoints import EndpointRules
from tests.backends.transducers import (
    VOCABULARY,
    RandomJoint,
    decode,
    heard,
    new_decoder,
    new_stream,
    random_frames,
)

RULES = st.builds(
    EndpointRules,
    silence_frames=st.integers(1, 6),
    no_speech_frames=st.sampled_from([2, 5, 1 << 62]),
    length_frames=st.sampled_from([3, 8, 1 << 62]),
)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    blankness=st.floats(0, 3),
    cuts=st.lists(st.integers(0, 7), min_size=1, max_size=8),
    rules=RULES,
    beam_size=st.integers(1, 4),
)
def test_segments_do_not_depend_on_the_chunks(seed, blankness, cuts, rules, beam_size):
    joint, audio = RandomJoint(seed, blankness), random_frames(seed, sum(cuts))
    decoder = new_decoder()
    options = {"endpoints": rules, "beam_size": beam_size}
    (whole,) = decode(decoder, joint, [new_stream(**options)], [[audio]])
    (pieces,) = decode(decoder, joint, [new_stream(**options)], [np.split(audio, np.cumsum(cuts)[:-1])])
    assert [heard(segment) for segment in pieces] == [heard(segment) for segment in whole]


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000), frames=st.integers(1, 40), rules=RULES, beam_size=st.integers(1, 3))
def test_segments_follow_each_other_and_keep_their_rule(seed, frames, rules, beam_size):
    decoder = new_decoder()
    stream = new_stream(endpoints=rules, beam_size=beam_size)
    (segments,) = decode(decoder, RandomJoint(seed, 1.5), [stream], [[random_frames(seed, frames)]])
    assert [segment.start_frame for segment in segments] == [0, *(segment.end_frame for segment in segments[:-1])]
    assert segments[-1].end_frame == frames
    for segment in segments:
        tokens = segment.tokens
        assert all(segment.start_frame <= frame < segment.end_frame for frame in tokens.frames)
        silence = segment.end_frame - (tokens.frames[-1] + 1) if tokens.frames else None
        gaps = np.diff(tokens.frames) - 1
        if beam_size == 1:  # in a beam, another hypothesis with another silence may become the best
            assert np.all(gaps <= rules.silence_frames), "a segment went on after its silence"
        if segment.rule == "silence":
            assert silence == rules.silence_frames or (beam_size > 1 and silence > rules.silence_frames)
        elif segment.rule == "no_speech":
            assert not tokens.ids
            lasted = segment.end_frame - segment.start_frame
            assert lasted == rules.no_speech_frames or (beam_size > 1 and lasted > rules.no_speech_frames)
        elif segment.rule == "length":
            assert tokens.ids
            assert segment.end_frame - segment.start_frame >= rules.length_frames
        else:
            assert segment.rule == "end"


@pytest.mark.parametrize("beam_size", [1, 3])
def test_finalize_ends_the_segment_and_the_stream_goes_on(beam_size):
    decoder, joint = new_decoder(), RandomJoint(4, 0.0)
    pieces = [random_frames(number, 6) for number in range(4)]
    stream = new_stream(beam_size=beam_size)
    (segments,) = decode(decoder, joint, [stream], [pieces], finalize_after={1})
    assert [(segment.rule, segment.end_frame) for segment in segments] == [("finalize", 12), ("end", 24)]
    (first,) = decode(decoder, joint, [new_stream(beam_size=beam_size)], [pieces[:2]])
    assert segments[0].tokens == first[0].tokens, "finalizing is deciding what END would decide"
    (rest,) = decode(decoder, joint, [new_stream(beam_size=beam_size)], [pieces[2:]])
    assert segments[1].tokens.ids == rest[0].tokens.ids, "the prediction network starts afresh"
    assert segments[1].tokens.frames == [frame + 12 for frame in rest[0].tokens.frames]


def test_a_long_segment_is_cut_between_words():
    decoder = new_decoder()
    rules = EndpointRules(length_frames=5)
    for seed in range(40):
        (segments,) = decode(
            decoder, RandomJoint(seed, 0.5), [new_stream(endpoints=rules)], [[random_frames(seed, 40)]]
        )
        for segment in segments[:-1]:
            assert segment.rule == "length"
        lengths = [segment.end_frame - segment.start_frame for segment in segments[:-1]]
        assert all(length >= 5 for length in lengths)
        # Within a segment no word starts after the limit, except on a frame that has a token already.
        for segment in segments:
            tokens = segment.tokens
            for before, frame, label in zip(tokens.frames, tokens.frames[1:], tokens.ids[1:], strict=False):
                assert not (frame - segment.start_frame >= 5 and frame > before and VOCABULARY.starts_word(label))
