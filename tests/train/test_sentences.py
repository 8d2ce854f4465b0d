import itertools
import re

import numpy as np
import pytest

pytest.importorskip("num2words")

from scripts.text_normalization import normalize
from scripts.train.sentences import is_speakable, made_up


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("the clock ticked away", True),
        ("a well-known writer's house!", True),
        ("only two", False),
        ("room 42 is free", False),
        ("Dr Smith is here", False),
        ("he works for NASA now", False),
        ("J. Smith is here", False),
        ("see e.g. the foot", False),
        ("x marks the spot", False),
    ],
)
def test_speakable(sentence, expected):
    assert is_speakable(sentence) is expected


def test_made_up_sentences_are_filled_varied_and_read_as_written():
    sentences = list(itertools.islice(made_up(np.random.default_rng(0)), 2000))
    assert not any(re.search(r"[{}\d]", sentence) for sentence in sentences)
    assert len(set(sentences)) > 1000
    assert any("o'clock" in normalize(sentence) for sentence in sentences)
    assert sentences == list(itertools.islice(made_up(np.random.default_rng(0)), 2000))
