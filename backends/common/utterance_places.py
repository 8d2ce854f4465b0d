"""How many whole utterances are inside a pipeline: its first step lets them in, its last one counts them out.

The two run in processes of their own, so the last step writes into a file that both map which requests it has answered.
An utterance that an error or its client took out in between is never answered. Steps work first come, first served, so
its place is free again when one that came later is answered, or after `LOST_SECS`.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from common.arrivals import key_of
from common.sequences import SequenceId, ServerBusy

LOST_SECS = 30.0
_NUMBER, _KEY = struct.Struct("q"), struct.Struct("=Q")
_KEPT = 4096  # latest answers; the first step looks whenever it lets somebody in

# What tells an utterance from others: its correlation and request ID, which a client may leave out.
Identity = tuple[SequenceId, str]


class AnsweredUtterances:
    """The latest utterances that a pipeline has answered, and how many there were. Only its last step adds to them."""

    def __init__(self, file: Path) -> None:
        """Map the file, made where there is none."""
        size = _NUMBER.size + _KEPT * _KEY.size
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, size)
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def add(self, utterances: Iterable[Identity]) -> None:
        """Note answers, errors included."""
        for identity in utterances:
            number = self.number
            _KEY.pack_into(self._map, _place(number), key_of(identity))
            _NUMBER.pack_into(self._map, 0, number + 1)

    @property
    def number(self) -> int:
        """How many there were."""
        number: int = _NUMBER.unpack_from(self._map, 0)[0]
        return number

    def keys(self, first: int, end: int) -> Iterator[int]:
        """Yield the keys of those with a number from `first` to before `end`, as far as they are kept."""
        for number in range(max(first, end - _KEPT), end):
            yield _KEY.unpack_from(self._map, _place(number))[0]


class UtterancePlaces:
    """The places of a pipeline, as its first step sees them."""

    def __init__(self, file: Path, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nobody inside.

        Args:
            file: of the pipeline's `AnsweredUtterances`.
            capacity: most utterances inside at once.
            clock: monotonic seconds; replaced in tests.
        """
        self._answered, self._capacity, self._clock = AnsweredUtterances(file), capacity, clock
        self._seen = self._answered.number
        self._inside: deque[tuple[int, float]] = deque()  # key and time of those that came in, oldest first

    def enter(self, identity: Identity) -> None:
        """Take a place. Raises ServerBusy when there is none."""
        self._leave()
        if len(self._inside) >= self._capacity:
            raise ServerBusy(
                f"server full: {len(self._inside)} of {self._capacity} utterances are inside "
                "(max_concurrent_batches); try again later"
            )
        self._inside.append((key_of(identity), self._clock()))

    def _leave(self) -> None:
        now = self._answered.number
        for answered in self._answered.keys(self._seen, now):
            position = next((at for at, (key, _) in enumerate(self._inside) if key == answered), -1)
            for _ in range(position + 1):
                self._inside.popleft()
        self._seen = now
        while self._inside and self._clock() - self._inside[0][1] > LOST_SECS:
            self._inside.popleft()


def _place(number: int) -> int:
    return _NUMBER.size + number % _KEPT * _KEY.size
