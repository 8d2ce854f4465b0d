"""Counting words that were lost, doubled and changed."""

from __future__ import annotations

import pytest

from amira_asr.events import Final, Token
from loadtest.chaos.comparison import Difference, compare, identical


@pytest.mark.parametrize(
    ("heard", "difference"),
    [
        ("he was not an ill disposed young man", Difference()),
        ("he was an ill disposed young man", Difference(lost=1)),
        ("he was not an not an ill disposed young man", Difference(doubled=2)),
        ("he was not an ill exposed young man", Difference(changed=1)),
        ("", Difference(lost=8)),
        ("he was not an ill disposed young man he was", Difference(doubled=2)),
    ],
)
def test_words_are_counted(heard, difference):
    assert compare(["he", "was", "not", "an", "ill", "disposed", "young", "man"], heard.split()) == difference


def final(*tokens):
    return Final("", tuple(Token(number, "", at, 1.0) for number, at in tokens), (), 1.0, 0.0, 0)


def test_identical_means_tokens_and_times():
    assert identical(final((1, 0.08), (2, 0.16)), final((1, 0.08), (2, 0.16 + 1e-9)))
    assert not identical(final((1, 0.08), (2, 0.16)), final((1, 0.08), (2, 0.24)))
    assert not identical(final((1, 0.08), (2, 0.16)), final((1, 0.08), (3, 0.16)))
