"""The texts a language model is estimated from: those of training, without any evaluation sentence."""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path

import numpy as np

from scripts.evaluation.recordings import HELD_OUT_ENGINE
from scripts.text_normalization import normalize
from scripts.train.evaluation_text import EvaluationText
from scripts.train.sentences import made_up, wordnet_examples

_MADE_UP = 3000


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
    evaluated: set[str] = set()
    for row in _rows(speech / "train" / "train.tsv"):
        texts.add(normalize(row["text"]))
    for row in _rows(speech / "tts" / "index.tsv"):
        (evaluated if row["engine"] == HELD_OUT_ENGINE else texts).add(normalize(row["text"]))
    evaluated |= {normalize(row["text"]) for row in _rows(speech / "eval" / "eval.tsv")}
    evaluation = EvaluationText(frozenset(evaluated))
    return sorted(text for text in texts if text and not evaluation.overlaps(text))


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        print(f"not used: {table} does not exist", file=sys.stderr)
        return []
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
