"""The texts a language model is estimated from: those of training, without any evaluation sentence."""

from __future__ import annotations

import csv
import itertools
import re
import sys
from pathlib import Path

import numpy as np

from scripts.evaluation.recordings import HELD_OUT_ENGINE
from scripts.text_normalization import normalize
from scripts.train.evaluation_text import EvaluationText
from scripts.train.sentences import made_up, wordnet_examples

_MADE_UP = 3000
_FORTUNES = Path("/usr/share/games/fortunes")


def training_texts(speech: Path) -> list[str]:
    """Return different normalised sentences, sorted.

    WordNet's examples and made-up sentences, and where the tables are there, transcripts of real speech
    (`train/train.tsv`) and of synthetic voices (`tts/index.tsv`).

    Args:
        speech: folder with eval/, train/ and tts/; says on stderr which of their tables is missing.

    Raises:
        FileNotFoundError: Debian's `dict-wn` is not installed.
    """
    random = np.random.default_rng(0)
    texts = {normalize(text) for text in [*wordnet_examples(), *itertools.islice(made_up(random), _MADE_UP)]}
    texts |= {normalize(row["text"]) for row in _rows(speech / "train" / "train.tsv")}
    texts |= {normalize(row["text"]) for row in _rows(speech / "tts" / "index.tsv")}
    evaluation = _evaluation_text(speech)
    return sorted(text for text in texts if text and not evaluation.overlaps(text))


def further_texts(speech: Path, fortunes: Path = _FORTUNES) -> list[str]:
    """Return sentences that no training text has: those of Debian's package `fortunes`, none where it is missing."""
    if not fortunes.is_dir():
        print(f"not used: no {fortunes}; install Debian's package fortunes", file=sys.stderr)
        return []
    evaluation = _evaluation_text(speech)
    files = [path for path in sorted(fortunes.iterdir()) if path.is_file() and not path.suffix]
    texts = set()
    for path in files:
        for fortune in path.read_text(encoding="utf-8", errors="ignore").split("\n%\n"):
            for sentence in re.split(r"(?<=[.!?])[\"']?\s+", re.sub(r"\s+", " ", fortune)):
                text = normalize(sentence)
                if not re.search(r"[^A-Za-z ,.;:!?'\"-]", sentence) and 3 <= len(text.split()) <= 40:
                    texts.add(text)
    return sorted(text for text in texts if not evaluation.overlaps(text))


def _evaluation_text(speech: Path) -> EvaluationText:
    held_out = [row for row in _rows(speech / "tts" / "index.tsv") if row["engine"] == HELD_OUT_ENGINE]
    rows = [*_rows(speech / "eval" / "eval.tsv"), *held_out]
    return EvaluationText(frozenset(normalize(row["text"]) for row in rows))


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        print(f"not used: {table} does not exist", file=sys.stderr)
        return []
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
