"""Phrases and language model: scores, states, and what they do to both searches."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_decoder.beam import Beam
from rnnt_decoder.boosting import PhraseBoost
from rnnt_decoder.fusion import Fusion
from rnnt_decoder.language_model import DensityRatio, TokenLanguageModel, WeightedLanguageModel
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

PHRASES = st.lists(st.lists(st.integers(0, BLANK - 1), min_size=1, max_size=5), min_size=1, max_size=12)

ARPA = """\\data\\
ngram 1=7
ngram 2=3

\\1-grams:
-99\t<s>\t-0.5
-1.0\t</s>
-0.9\t▁a\t-0.3
-1.1\tb\t-0.2
-0.5\t▁c\t-0.4
-1.4\td
-2.0\te

\\2-grams:
-0.2\t<s> ▁c
-0.1\t▁a b
-0.3\tb ▁c

\\end\\
"""


def earned(boost, labels):
    """Sum of scores along a label sequence, with the final one."""
    state, total = boost.start, 0.0
    for label in labels:
        total += float(boost.scores(state)[label])
        state = boost.advance(state, label)
    return total + boost.final_score(state)


@settings(max_examples=200, deadline=None)
@given(phrases=PHRASES, labels=st.lists(st.integers(0, BLANK - 1), max_size=12))
def test_only_complete_phrases_are_paid(phrases, labels):
    boost = PhraseBoost(phrases, [1.0] * len(phrases), BLANK)
    total = earned(boost, labels)
    occurs = any(labels[start : start + len(phrase)] == phrase for phrase in phrases for start in range(len(labels)))
    assert total >= -1e-4
    assert (total > 1e-4) == occurs


@settings(max_examples=200, deadline=None)
@given(phrases=PHRASES, labels=st.lists(st.integers(0, BLANK - 1), max_size=12))
def test_state_is_the_longest_beginning_that_the_labels_end_with(phrases, labels):
    boost = PhraseBoost(phrases, [1.0] * len(phrases), BLANK)
    beginnings = {tuple(phrase[:length]) for phrase in phrases for length in range(len(phrase) + 1)}
    states = {}
    for beginning in beginnings:
        state = boost.start
        for label in beginning:
            state = boost.advance(state, label)
        states[beginning] = state
    assert len(set(states.values())) == len(beginnings)
    state = boost.start
    for label in labels:
        state = boost.advance(state, label)
    longest = max(
        (tuple(labels[start:]) for start in range(len(labels) + 1)), key=lambda tail: (tail in beginnings) * len(tail)
    )
    assert state == states[longest if longest in beginnings else ()]


def test_one_phrase_earns_its_weight_per_token():
    boost = PhraseBoost([[0, 1, 2]], [1.5], BLANK)
    assert earned(boost, [0, 1, 2]) == pytest.approx(4.5)
    assert earned(boost, [0, 1]) == pytest.approx(0)
    assert earned(boost, [0, 1, 3]) == pytest.approx(0)
    assert earned(boost, [0, 1, 0, 1, 2]) == pytest.approx(4.5)
    np.testing.assert_allclose(boost.scores(boost.start), [1.5, 0, 0, 0, 0])


def test_ten_thousand_phrases_are_added_in_no_time():
    random = np.random.default_rng(0)
    phrases = [list(map(int, random.integers(0, 128, random.integers(2, 12)))) for _ in range(10_000)]
    boost = PhraseBoost(phrases, [1.0] * len(phrases), 128)
    for phrase in phrases[:200]:
        assert earned(boost, phrase) >= len(phrase) - 1e-3


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_phrase_changes_what_is_heard(beam_size):
    decoder, joint = new_decoder(), RandomJoint(5, 1.0)
    changed = 0
    for seed in range(30):
        audio = random_frames(seed, 10)
        (plain,) = decode(decoder, joint, [new_stream(beam_size=beam_size)], [[audio]])
        fusion = Fusion((PhraseBoost([[3, 4]], [4.0], BLANK),))
        (boosted,) = decode(decoder, joint, [new_stream(beam_size=beam_size, fusion=fusion)], [[audio]])
        pairs = [list(itertools.pairwise(segments[0].tokens.ids)).count((3, 4)) for segments in (plain, boosted)]
        assert pairs[1] >= pairs[0]
        changed += pairs[1] > pairs[0]
    assert changed > 10


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    phrases=PHRASES,
    cuts=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    beam_size=st.integers(1, 4),
)
def test_streaming_equals_offline_with_phrases(seed, phrases, cuts, beam_size):
    fusion = Fusion((PhraseBoost(phrases, [2.0] * len(phrases), BLANK),))
    joint, audio, decoder = RandomJoint(seed, 1.0), random_frames(seed, sum(cuts)), new_decoder()
    options = {"fusion": fusion, "beam_size": beam_size}
    (whole,) = decode(decoder, joint, [new_stream(**options)], [[audio]])
    (pieces,) = decode(decoder, joint, [new_stream(**options)], [np.split(audio, np.cumsum(cuts)[:-1])])
    assert [heard(segment) for segment in pieces] == [heard(segment) for segment in whole]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), phrases=PHRASES)
def test_greedy_with_fusion_is_a_beam_of_one(seed, phrases):
    fusion = Fusion((PhraseBoost(phrases, [2.0] * len(phrases), BLANK),))
    joint, audio, decoder = RandomJoint(seed, 1.0), random_frames(seed, 9), new_decoder()
    beam = new_stream(fusion=fusion)
    beam.search = Beam.of(SHAPE.new_hypothesis(fusion_state=fusion.start))
    (greedy,) = decode(decoder, joint, [new_stream(fusion=fusion)], [[audio]])
    (one,) = decode(decoder, joint, [beam], [[audio]])
    assert [heard(segment) for segment in one] == [heard(segment) for segment in greedy]


def test_streams_without_fusion_are_not_touched_by_those_with():
    joint, decoder = RandomJoint(8, 1.0), new_decoder()
    audio = [random_frames(seed, 8) for seed in range(4)]
    fusion = Fusion((PhraseBoost([[0], [4, 4]], [5.0, 5.0], BLANK),))
    alone = [decode(decoder, joint, [new_stream()], [[piece]])[0][0] for piece in audio]
    streams = [new_stream(fusion=fusion if number % 2 else None) for number in range(4)]
    together = decode(decoder, joint, streams, [[piece] for piece in audio])
    for number in (0, 2):
        assert heard(together[number][0]) == heard(alone[number])
        np.testing.assert_allclose(together[number][0].tokens.confidences, alone[number].tokens.confidences, atol=1e-5)


class TestLanguageModel:
    """Needs KenLM, which `make setup` builds."""

    @pytest.fixture
    def model(self, tmp_path):
        pytest.importorskip("kenlm", reason="the package kenlm is not installed: requirements/lm.txt")
        (tmp_path / "lm.arpa").write_text(ARPA)
        return TokenLanguageModel(tmp_path / "lm.arpa", VOCABULARY)

    def test_scores_are_those_of_the_file(self, model):
        natural = np.log(10)
        np.testing.assert_allclose(
            model.scores(model.start), np.array([-1.4, -1.6, -0.2, -1.9, -2.5]) * natural, rtol=1e-4
        )
        after = model.advance(model.start, 0)
        assert model.scores(after)[1] == pytest.approx(-0.1 * natural, rel=1e-4)
        assert model.scores(after)[2] == pytest.approx((-0.3 - 0.5) * natural, rel=1e-4)

    def test_a_density_ratio_is_the_difference(self, model, tmp_path):
        (tmp_path / "source.arpa").write_text(ARPA.replace("-0.2\t<s> ▁c", "-0.7\t<s> ▁c"))
        ratio = DensityRatio(model, TokenLanguageModel(tmp_path / "source.arpa", VOCABULARY))
        np.testing.assert_allclose(ratio.scores(ratio.start), [0, 0, 0.5 * np.log(10), 0, 0], atol=1e-5)
        np.testing.assert_allclose(ratio.scores(ratio.advance(ratio.start, 2)), np.zeros(5), atol=1e-5)

    @pytest.mark.parametrize("beam_size", [1, 4])
    def test_makes_likely_labels_more_frequent(self, model, beam_size):
        decoder, joint = new_decoder(), RandomJoint(2, 1.0)
        counts = []
        for weight in (0.0, 1.5):
            fusion = Fusion((WeightedLanguageModel(model, weight),), weight) if weight else None
            ids = []
            for seed in range(30):
                stream = new_stream(beam_size=beam_size, fusion=fusion)
                ids += decode(decoder, joint, [stream], [[random_frames(seed, 10)]])[0][0].tokens.ids
            counts.append(ids.count(2) / len(ids))
        assert counts[1] > counts[0]

    def test_wrong_files_are_refused(self, tmp_path):
        pytest.importorskip("kenlm", reason="the package kenlm is not installed: requirements/lm.txt")
        with pytest.raises(FileNotFoundError, match=r"none\.arpa does not exist"):
            TokenLanguageModel(tmp_path / "none.arpa", VOCABULARY)
        foreign = re.sub(r"(?m)(?<=[\t ])▁?([a-e])(?=[\t\n ])", r"\1\1", ARPA)
        (tmp_path / "words.arpa").write_text(foreign)
        with pytest.raises(ValueError, match="none of its words is a piece"):
            TokenLanguageModel(tmp_path / "words.arpa", VOCABULARY)
