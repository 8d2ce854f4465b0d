"""How many whole utterances are inside a pipeline: its first step lets them in, its last one counts them out.

The two run in processes of their own, so the count of those that came out is eight bytes of a file that both map. An
utterance that an error or its client took out in between is never counted out; its place is free again after
`LOST_SECS`.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from common.sequences import ServerBusy

LOST_SECS = 30.0
_NUMBER = struct.Struct("q")


class AnsweredCount:
    """Utterances that a pipeline has answered so far. The last step makes the file and is the only one to write."""

    def __init__(self, file: Path) -> None:
        """Begin at zero."""
        file.write_bytes(bytes(_NUMBER.size))
        self._map = _map(file)
        self._answered = 0

    def add(self, number: int) -> None:
        """Count answers, errors included."""
        self._answered += number
        _NUMBER.pack_into(self._map, 0, self._answered)


class UtterancePlaces:
    """The places of a pipeline, as its first step sees them."""

    def __init__(self, file: Path, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember the file, which is there when the first utterance comes.

        Args:
            file: of the pipeline's `AnsweredCount`.
            capacity: most utterances inside at once.
            clock: monotonic seconds; replaced in tests.
        """
        self._file, self._capacity, self._clock = file, capacity, clock
        self._map: mmap.mmap | None = None
        self._answered = 0
        self._entered: deque[float] = deque()  # when those inside came, oldest first

    def enter(self) -> None:
        """Take a place. Raises ServerBusy when there is none."""
        self._leave()
        if len(self._entered) >= self._capacity:
            raise ServerBusy(
                f"server full: {len(self._entered)} of {self._capacity} utterances are inside "
                "(max_concurrent_batches); try again later"
            )
        self._entered.append(self._clock())

    def _leave(self) -> None:
        if self._map is None:
            self._map = _map(self._file)
            self._answered = self._read()
        answered = self._read()
        for _ in range(min(answered - self._answered, len(self._entered))):
            self._entered.popleft()
        self._answered = answered
        while self._entered and self._clock() - self._entered[0] > LOST_SECS:
            self._entered.popleft()

    def _read(self) -> int:
        number: int = _NUMBER.unpack_from(self._map or b"", 0)[0]
        return number


def _map(file: Path) -> mmap.mmap:
    with file.open("r+b") as opened:
        return mmap.mmap(opened.fileno(), _NUMBER.size)
