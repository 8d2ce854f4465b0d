"""How the transcript of a new sequence goes on with what was recognised before the old one was lost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

from amira_asr.events import Segment, Transcript
from amira_asr.timeline import after, append, before

_TranscriptT = TypeVar("_TranscriptT", bound=Transcript)

# A recogniser that begins in the middle does not know what came before. It hears this share of what it hears again only
# to get into it, and what it makes of that is not used.
_WARM_UP_SHARE = 0.6


@dataclass(frozen=True)
class Resumption:
    """A stream that goes on in a new sequence.

    Attributes:
        earlier: what was recognised before; its words are final.
        start_secs: where the new sequence starts in the stream.
        join_secs: words from here on are those of the new sequence.
    """

    earlier: Transcript
    start_secs: float
    join_secs: float

    @staticmethod
    def at_loss(latest: Transcript, start_secs: float) -> Resumption:
        """Return how to go on after `latest`, with a sequence that starts at `start_secs`.

        The two are joined in the longest pause between words that is left after the warm-up.
        """
        first = start_secs + _WARM_UP_SHARE * (latest.audio_secs - start_secs)
        times = [token.time_secs for token in latest.tokens if token.time_secs > first]
        pauses = list(pairwise([first, *times, latest.audio_secs]))
        begin, end = max(pauses, key=lambda pause: pause[1] - pause[0])
        join = (begin + end) / 2
        return Resumption(before(latest, join), start_secs, join)

    def apply(self, event: _TranscriptT, reported_words: int) -> _TranscriptT:
        """Return an event of the new sequence as one of the stream.

        Args:
            event: of the new sequence.
            reported_words: how many words of the stream belong to segments that ended with earlier events.
        """
        later = after(event, self.join_secs - self.start_secs)
        whole = append(self.earlier, self.start_secs, later)
        whole = replace(whole, segments=_complete(whole, reported_words))
        # Readings of a segment that the new sequence knows only the end of would lack their beginning.
        return whole if reported_words >= len(self.earlier.words) else replace(whole, alternatives=())


def _complete(whole: Transcript, reported_words: int) -> tuple[Segment, ...]:
    """Return the segments of a joined event with all their words: those of the first were heard before, in part."""
    segments: list[Segment] = []
    end = len(whole.words)
    for index, segment in reversed(list(enumerate(whole.segments))):
        start = reported_words if index == 0 else max(reported_words, end - len(segment.text.split()))
        words = whole.words[start:end]
        first, last = (words[0].start_secs, words[-1].end_secs) if words else (segment.start_secs, segment.end_secs)
        segments.insert(0, Segment(" ".join(word.text for word in words), first, last, segment.rule))
        end = start
    return tuple(segments)
