"""What a disturbed stream lost, against the same recording recognised in peace."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from amira_asr.events import Transcript

# Times are multiples of a frame of 80 ms; a sum of floats is not to count as another time.
_DECIMALS = 3


@dataclass(frozen=True)
class Difference:
    """Words of a stream that are not as they should be.

    Attributes:
        lost: words that were said and are missing.
        doubled: words that nobody said: heard twice, or of somebody else.
        changed: words that became others.
    """

    lost: int = 0
    doubled: int = 0
    changed: int = 0

    def __add__(self, other: Difference) -> Difference:
        return Difference(self.lost + other.lost, self.doubled + other.doubled, self.changed + other.changed)


def identical(expected: Transcript, heard: Transcript) -> bool:
    """Whether two transcripts have the same tokens at the same times."""
    return _tokens(expected) == _tokens(heard)


def compare(expected: Sequence[str], heard: Sequence[str]) -> Difference:
    """Count the words in which `heard` differs, by the longest matching runs (difflib's Ratcliff-Obershelp)."""
    difference = Difference()
    matcher = difflib.SequenceMatcher(None, expected, heard, autojunk=False)
    for kind, first, last, other_first, other_last in matcher.get_opcodes():
        if kind == "equal":
            continue
        missing, more = last - first, other_last - other_first
        changed = min(missing, more)
        difference += Difference(missing - changed, more - changed, changed)
    return difference


def _tokens(transcript: Transcript) -> list[tuple[int, float]]:
    return [(token.id, round(token.time_secs, _DECIMALS)) for token in transcript.tokens]
