import pytest

pytest.importorskip("num2words")

from hypothesis import given
from hypothesis import strategies as st

from scripts.text_normalization import normalize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WE CALL IT BEAR", "we call it bear"),
        ("Don't -- won't; 'quoted' o’clock", "don't won't quoted o'clock"),
        ("a well-known mother-in-law", "a well known mother in law"),
        ("Room 42, please!", "room forty two please"),
        ("1,024 steps and 3.5 miles", "one thousand and twenty four steps and three point five miles"),
        ("the 3rd of May", "the third of may"),
        ("at 7:05 or 12:30 or 9:00", "at seven oh five or twelve thirty or nine o'clock"),
        ("50% of R&D", "fifty percent of r and d"),
        ("the U.S. and café", "the us and cafe"),
        ("", ""),
        ("?!…", ""),
    ],
)
def test_examples(text, expected):
    assert normalize(text) == expected


@given(st.text())
def test_output_holds_only_words_and_stays_the_same(text):
    once = normalize(text)
    assert set(once) <= set("abcdefghijklmnopqrstuvwxyz' ")
    assert once == " ".join(once.split())
    assert all(word.strip("'") == word for word in once.split())
    assert normalize(once) == once
