"""Error rates by subset: one way to score, whichever recogniser spoke."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer

from scripts.evaluation.recordings import Utterance
from scripts.text_normalization import normalize

# Children and non-native speakers reading aloud: what the recogniser is for.
FIRST_SUBSET = "so762"
ALL_REAL = "all"


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
        cer: character error rate, a fraction.
        rtf: seconds it took over seconds of audio.
        files: how many recordings.
        words: words of their references.
        empty: recordings of which nothing was recognised.
    """

    wer: float
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


def _grouped(recognitions: Sequence[Recognition]) -> dict[str, list[Recognition]]:
    names = sorted({item.utterance.subset for item in recognitions}, key=lambda name: (name != FIRST_SUBSET, name))
    return {name: [item for item in recognitions if item.utterance.subset == name] for name in names}
