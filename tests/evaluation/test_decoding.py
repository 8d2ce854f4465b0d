"""Options of evaluation, and the phrases of a passage."""

from __future__ import annotations

import argparse

import pytest

from amira_asr import DecodingOptions
from scripts.evaluation.__main__ import _options
from scripts.evaluation.decoding import pieces


def test_a_passage_becomes_phrases_of_up_to_three_words():
    assert pieces("we call it a bear today yes") == ["we call it", "a bear today", "yes"]
    assert pieces("one") == ["one"]


def test_parameters_are_decoding_options():
    assert _options('{"beam_size": 4, "lm_weight": 0.2}') == DecodingOptions(beam_size=4, lm_weight=0.2)


@pytest.mark.parametrize("text", ["{", "3", '{"beem_size": 4}'])
def test_other_parameters_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="no decoding options"):
        _options(text)
