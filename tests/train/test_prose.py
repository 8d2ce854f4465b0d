"""Books become sentences that any voice reads as the transcript has them."""

import io
import json
import tarfile

import pytest

pytest.importorskip("num2words")

from scripts.text_normalization import normalize
from scripts.train.prose import PACKAGES, pieces, prose

LONG = "By the time that the old captain had come on deck, and had seen the white whale with his own eyes, it was late."


def test_sentences_are_kept_and_long_ones_cut_where_a_reader_pauses():
    assert list(pieces("Call me Ishmael. It was late; we slept.")) == ["Call me Ishmael.", "It was late; we slept."]
    assert list(pieces(LONG)) == [
        "By the time that the old captain had come on deck,",
        "and had seen the white whale with his own eyes,",
        "it was late.",
    ]


def test_what_voices_read_differently_is_left_out():
    assert list(pieces("In 1851 it was printed. Mr. Starbuck slept--as\nwe did—late.")) == [
        "Starbuck slept, as we did, late."
    ]


def test_typographic_quotes_are_those_of_the_keyboard():
    (piece,) = pieces("“It’s the captain’s coat.”")
    assert normalize(piece) == "it's the captain's coat"


def test_packages_are_read_whole(tmp_path):
    for number, package in enumerate(PACKAGES):
        entry = json.dumps({"text": f"The {'white whale' if number else 'old ship'} is gone."}).encode()
        with tarfile.open(tmp_path / package, "w:gz") as archive:
            for name, content in (("chapter.json", entry), ("list.json", b"[1]")):
                member = tarfile.TarInfo(f"package/data/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    assert prose(tmp_path) == ["The old ship is gone.", "The white whale is gone."]
    with pytest.raises(FileNotFoundError):
        prose(tmp_path / "nowhere")
