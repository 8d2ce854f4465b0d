"""Error rates by subset: one way to score, whichever recogniser spoke."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

from scripts.evaluation.recordings import Utterance
from scripts.text_normalization import normalize

# Children and non-native speakers reading aloud: what the recogniser is for.
FIRST_SUBSET = "so762"
ALL_REAL = "all"
_DRAWS = 2000


@dataclass(frozen=True)
class Recognition:
    """What a recogniser made of one recording.

    Attributes:
        utterance: the recording.
        text: as recognised, not normalised.
        secs: what it took: seconds of waiting, or of processor time.
    """

    utterance: Utterance
    text: str
    secs: float


@dataclass(frozen=True)
class Figures:
    """Results over some recordings.

    Attributes:
        wer: word error rate, a fraction.
        wer_interval: of 95 %, from resampled recordings (bootstrap; Bisani and Ney, ICASSP 2004).
        cer: character error rate, a fraction.
        rtf: seconds it took over seconds of audio.
        files: how many recordings.
        words: words of their references.
        empty: recordings of which nothing was recognised.
    """

    wer: float
    wer_interval: tuple[float, float]
    cer: float
    rtf: float
    files: int
    words: int
    empty: int


def score(recognitions: Sequence[Recognition]) -> Figures:
    """Score normalised hypotheses against references (jiwer). Raises ValueError when there is nothing to score."""
    if not recognitions:
        raise ValueError("no recording to score")
    references = [item.utterance.reference for item in recognitions]
    hypotheses = [normalize(item.text) for item in recognitions]
    return Figures(
        wer=round(float(jiwer.wer(references, hypotheses)), 4),
        wer_interval=_interval(references, hypotheses),
        cer=round(float(jiwer.cer(references, hypotheses)), 4),
        rtf=round(sum(item.secs for item in recognitions) / sum(item.utterance.seconds for item in recognitions), 4),
        files=len(references),
        words=sum(len(reference.split()) for reference in references),
        empty=sum(not hypothesis for hypothesis in hypotheses),
    )


def score_by_subset(recognitions: Sequence[Recognition]) -> dict[str, Figures]:
    """Score each subset: `FIRST_SUBSET` first, then the other real ones, `ALL_REAL`, then the synthetic ones."""
    real = [item for item in recognitions if not item.utterance.synthetic]
    synthetic = [item for item in recognitions if item.utterance.synthetic]
    groups = _grouped(real)
    if real:
        groups[ALL_REAL] = real
    groups |= _grouped(synthetic)
    return {subset: score(items) for subset, items in groups.items()}


def _interval(references: list[str], hypotheses: list[str]) -> tuple[float, float]:
    """Draw as many recordings with replacement, often, and cut off the extreme rates. The same draws every time."""
    words = np.array([len(reference.split()) for reference in references])
    errors = np.array([jiwer.wer(*pair) for pair in zip(references, hypotheses, strict=True)]) * words
    draws = np.random.default_rng(0).integers(0, len(words), (_DRAWS, len(words)))
    low, high = np.quantile(errors[draws].sum(axis=1) / words[draws].sum(axis=1), (0.025, 0.975))
    return round(float(low), 4), round(float(high), 4)


def _grouped(recognitions: Sequence[Recognition]) -> dict[str, list[Recognition]]:
    names = sorted({item.utterance.subset for item in recognitions}, key=lambda name: (name != FIRST_SUBSET, name))
    return {name: [item for item in recognitions if item.utterance.subset == name] for name in names}
