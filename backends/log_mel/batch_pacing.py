"""How long the first step rests between two batches, so that chunks which come at the pace of speech share them.

A chunk that is alone in all steps costs twice what it costs in company. Triton's own window makes every chunk wait,
also where no other will come. Resting after a batch instead delays nobody while a server has few callers: the next
chunk is most often further away than the rest. With more callers, those that come meanwhile are the next batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from common.parameters import ModelConfig
from log_mel.stream import Stream

# The longest rest is this part of a chunk: little beside the wait until a chunk has been spoken.
_PART_OF_CHUNK = 16
# Larger batches save little more.
_ENOUGH = 8


@dataclass
class BatchPacing:
    """The rest after each batch; none where a stream sends faster than speech, and waits for its answers.

    Attributes:
        longest_secs: after a chunk that came alone; the larger a batch, the shorter.
        sample_rate: Hz.
        chunk_secs: of the streams.
        clock: monotonic seconds; replaced in tests.
    """

    longest_secs: float
    sample_rate: int
    chunk_secs: float
    clock: Callable[[], float] = time.monotonic
    _chunks: int = field(default=0, init=False)
    _hurry: bool = field(default=False, init=False)

    @staticmethod
    def configured(config: ModelConfig, sample_rate: int, chunk_samples: int) -> BatchPacing:
        """Read the parameter `batch_rest_ms`; a sixteenth of a chunk where there is none. Raises ValueError."""
        chunk_secs = chunk_samples / sample_rate
        longest_ms = config.optional_number("batch_rest_ms")
        longest = chunk_secs / _PART_OF_CHUNK if longest_ms is None else longest_ms / 1e3
        return BatchPacing(longest, sample_rate, chunk_secs)

    def received(self, stream: Stream[Any], *, start: bool, end: bool) -> None:
        """Count a chunk of a stream to the batch.

        The pace of one that starts is not known, and one that ends may hang up as soon as it has its answer.
        """
        ahead = stream.samples / self.sample_rate - (self.clock() - stream.started)
        self._chunks += 1
        self._hurry |= start or end or ahead > 1.5 * self.chunk_secs

    def rest_secs(self, live_streams: int) -> float:
        """Return how long to rest after the batch, and begin the next one. With few live streams nobody would come."""
        chunks, hurry = self._chunks, self._hurry
        self._chunks, self._hurry = 0, False
        if hurry or not chunks or live_streams * self.longest_secs < self.chunk_secs:
            return 0.0
        return self.longest_secs * max(0.0, 1 - chunks / _ENOUGH)
