"""Scores of made-up transcripts."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.evaluation.recordings import Utterance
from scripts.evaluation.scores import Recognition, score, score_by_subset

SECOND = np.zeros(16000, np.float32)


def _heard(subset, reference, text, *, secs=0.5, synthetic=False):
    return Recognition(Utterance(f"{subset}-1", subset, SECOND, reference, synthetic=synthetic), text, secs)


def test_hypotheses_are_normalised_and_errors_counted():
    figures = score(
        [_heard("lj", "one two three four", "One, two tree four."), _heard("lj", "five", "", secs=0.1)],
    )
    assert figures.wer == pytest.approx(2 / 5)
    assert figures.rtf == pytest.approx(0.3)
    assert (figures.files, figures.words, figures.empty) == (2, 5, 1)


def test_interval_shrinks_with_more_recordings_and_is_a_point_when_all_are_alike():
    good, bad = _heard("lj", "a b c d", "a b c d"), _heard("lj", "a b c d", "a b x x")
    few, many = score([good, bad] * 4), score([good, bad] * 100)
    assert few.wer == many.wer == pytest.approx(0.25)
    for figures in (few, many):
        low, high = figures.wer_interval
        assert low < 0.25 < high
    assert np.subtract(*few.wer_interval) < 3 * np.subtract(*many.wer_interval)
    # The rate of a resampled recording has the standard deviation 0.25: 1.96 * 0.25 / sqrt(200).
    assert many.wer_interval == pytest.approx((0.25 - 0.0346, 0.25 + 0.0346), abs=0.006)
    assert score([bad] * 5).wer_interval == (0.5, 0.5)


def test_readers_come_first_and_synthetic_voices_do_not_count_as_real():
    figures = score_by_subset(
        [
            _heard("kokhold", "a", "b", synthetic=True),
            _heard("asterisk", "a b", "a b"),
            _heard("so762", "a b", "a c"),
        ]
    )
    assert list(figures) == ["so762", "asterisk", "all", "kokhold"]
    assert figures["all"].wer == pytest.approx(1 / 4)
    assert figures["kokhold"].wer == 1


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="no recording"):
        score([])
