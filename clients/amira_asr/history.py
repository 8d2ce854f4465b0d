"""What a stream may have to send again when its sequence is lost."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from amira_asr.audio import Float32
from amira_asr.events import Transcript


@dataclass(frozen=True)
class Chunk:
    """One chunk of a stream.

    Attributes:
        samples: [chunk_samples] float32, fewer in the last one.
        end: whether it is the last one.
        finalize: whether the segment ends with it.
    """

    samples: Float32
    end: bool
    finalize: bool = False


class History:
    """The latest chunks of a stream, in order."""

    def __init__(self, chunk_secs: float, max_secs: float) -> None:
        """Start with nothing.

        Args:
            chunk_secs: duration of a chunk.
            max_secs: audio kept, at most, besides what is not answered. What was said in older audio is known.
        """
        self._chunk_secs = chunk_secs
        self._max_chunks = max(2, int(max_secs / chunk_secs))
        self._chunks: list[Chunk] = []
        self._dropped = 0

    @property
    def start_secs(self) -> float:
        """When the first chunk that is still kept starts."""
        return self._dropped * self._chunk_secs

    def __len__(self) -> int:
        return len(self._chunks)

    def __getitem__(self, index: int) -> Chunk:
        return self._chunks[index]

    def append(self, chunk: Chunk) -> None:
        """Add the next chunk."""
        self._chunks.append(chunk)

    def trim(self, latest: Transcript, *, answered: int) -> int:
        """Drop the oldest chunks when there are too many, up to the longest pause in their first quarter.

        What stays must be long enough for the recogniser to get into it: see `resumption`.

        Args:
            latest: what has been recognised so far, with times from the start of the stream.
            answered: how many of the chunks it covers; the others stay.

        Returns:
            How many chunks were dropped.
        """
        choices = range(1, min(max(1, self._max_chunks // 4), answered) + 1)
        if len(self._chunks) <= self._max_chunks or not choices:
            return 0
        times = [token.time_secs for token in latest.tokens]
        # The later of equals, so that a stream without words keeps little.
        count = max(choices, key=lambda n: (_distance(self.start_secs + n * self._chunk_secs, times), n))
        del self._chunks[:count]
        self._dropped += count
        return count


def _distance(moment: float, times: Sequence[float]) -> float:
    """Return how far the nearest of ascending times is; 0 where there is none."""
    index = bisect(times, moment)
    return min((abs(moment - time) for time in times[max(0, index - 1) : index + 1]), default=0.0)
