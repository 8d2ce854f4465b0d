"""How often a word that a partial showed was changed later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from amira_asr import Transcript


@dataclass
class Stability:
    """Counts over updates from one event of a stream to the next.

    Attributes:
        words: words of all final transcripts.
        changed: words that an event showed and the next one had otherwise at that place, or no more.
        grown: those of them that only became longer, as the last word of a chunk does.
        broken_promises: those of them that had been marked stable.
    """

    words: int = 0
    changed: int = 0
    grown: int = 0
    broken_promises: int = 0

    def add(self, events: Iterable[Transcript]) -> None:
        """Count the events of one stream."""
        transcripts = list(events)
        for before, after in pairwise(transcripts):
            old, new = before.text.split(), after.text.split()
            for place, word in enumerate(old):
                now = new[place] if place < len(new) else ""
                if now != word:
                    self.changed += 1
                    self.grown += bool(now) and now.startswith(word)
                    self.broken_promises += place < before.stable_words
        self.words += len(transcripts[-1].text.split())
