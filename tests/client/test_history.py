"""What a stream keeps to go on with, and transcripts that are cut and joined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amira_asr import Final, Partial, Token
from amira_asr.events import words_of
from amira_asr.history import Chunk, History
from amira_asr.timeline import append, before
from tests.client.fake_triton import chunk, words


def transcript(times):
    tokens = tuple(Token(n, f"▁w{n}", time, 1.0) for n, time in enumerate(times))
    return Partial(words(*range(len(times))), tokens, words_of(tokens, 0.1), 100.0, 1.0)


@given(st.lists(st.floats(0, 20), max_size=30).map(sorted), st.integers(0, 40))
def test_history_keeps_its_size_and_what_is_not_answered(times, unanswered):
    history = History(0.5, max_secs=10.0)
    for number in range(60):
        history.append(Chunk(chunk(number), end=False))
        before_it = len(history)
        dropped = history.trim(transcript(times), answered=len(history) - unanswered)
        assert len(history) == before_it - dropped
        assert len(history) >= min(unanswered, number + 1)
        assert history.start_secs == pytest.approx((number + 1 - len(history)) * 0.5)
    assert len(history) <= max(20, unanswered + 1)


def test_history_is_cut_in_the_longest_pause():
    history = History(1.0, max_secs=20.0)
    for number in range(21):
        history.append(Chunk(chunk(number), end=False))
    assert history.trim(transcript([0.1, 1.2, 2.3, 3.1, 7.2, 8.1, 9.2, 10.3, 11.4]), answered=21) == 5
    assert history[0].samples[0] == chunk(5)[0]


@given(st.lists(st.floats(0, 20), max_size=12).map(sorted), st.floats(0, 21))
def test_cut_and_joined_again_is_the_same(times, seconds):
    whole = transcript(times)
    first = before(whole, seconds)
    later = whole.tokens[len(first.tokens) :]
    assert all(token.time_secs < seconds for token in first.tokens)
    assert all(token.time_secs >= seconds for token in later)
    assert [word.text for word in first.words] == first.text.split()
    moved = tuple(Token(t.id, t.text, t.time_secs - seconds, t.confidence) for t in later)
    rest = Final(" ".join(t.text[1:] for t in later), moved, words_of(moved, 0.1), 100.0 - seconds, 7.0)
    joined = append(first, seconds, rest)
    assert (type(joined), joined.text, joined.latency_ms) == (Final, whole.text, 7.0)
    assert [token.id for token in joined.tokens] == [token.id for token in whole.tokens]
    np.testing.assert_allclose([word.start_secs for word in joined.words], times, atol=1e-9)
    assert joined.audio_secs == pytest.approx(100.0)
