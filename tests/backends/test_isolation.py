"""One bad request among good ones."""

from __future__ import annotations

from common.error_text import MAX_CHARACTERS, for_client
from common.isolation import together_or_alone


def test_only_the_item_that_cannot_be_run_has_the_error():
    calls = []

    def run(items):
        calls.append(list(items))
        if 3 in items:
            raise KeyError("3")
        return [item * 10 for item in items]

    assert together_or_alone(run, [1, 2]) == [10, 20]
    first, second, bad = together_or_alone(run, [1, 2, 3])
    assert (first, second) == (10, 20)
    assert isinstance(bad, KeyError)
    assert calls == [[1, 2], [1, 2, 3], [1], [2], [3]]
    assert isinstance(together_or_alone(run, [3])[0], KeyError)


def test_a_long_error_keeps_its_field_and_what_is_allowed():
    short = "beam_size is 17; allowed: whole numbers 1 to 16"
    assert for_client(short) == short
    text = for_client(f"beam_size is {'😀' * 100_000!r}; allowed: whole numbers 1 to 16")
    assert text.startswith("beam_size is '😀")
    assert text.endswith("; allowed: whole numbers 1 to 16")
    assert len(text) <= MAX_CHARACTERS
    assert for_client("a\ud800b") == "a\\ud800b"
