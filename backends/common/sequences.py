"""The life of per-sequence state. Every backend keeps its state in one `SequenceTable`, and nowhere else.

* created on START (a START of a live ID replaces what was there),
* checked on every later chunk,
* marked failed by an error: from then on the sequence accepts only END, which still passes through the
  ensemble, so that every later step is released and what was recognised before the error is returned,
* freed on END, on the next START of its ID, and by age: Triton reaps idle sequences silently, without an END.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from common.metric_catalogue import END, ERROR, FULL, IDLE, REPLACED

StateT = TypeVar("StateT")


# Triton's correlation IDs: 5 and "5" are different sequences, which a client may use side by side.
SequenceId = str | int


class SequenceError(ValueError):
    """A request that breaks the sequence contract. The text goes to the client as it is."""

    kind = "sequence"


class ServerBusy(SequenceError):
    """Not now: the same request may succeed later, or on another server. Its status is UNAVAILABLE."""

    def __init__(self, message: str, kind: str = FULL) -> None:
        """Say why: the text for the client, the kind for the metrics (`metric_catalogue.py`)."""
        super().__init__(message)
        self.kind = kind


@dataclass(slots=True)
class Sequence(Generic[StateT]):
    """One live sequence.

    Attributes:
        id: correlation ID.
        state: whatever the backend keeps for it.
        last_used: clock reading of its latest request, seconds.
        failure: why it accepts nothing but END any more; None while it is healthy.
    """

    id: SequenceId
    state: StateT
    last_used: float
    failure: str | None = None


class SequenceObserver(Protocol[StateT]):
    """Is told of the life of sequences: metrics, logs."""

    def started(self, sequence: Sequence[StateT]) -> None:
        """A sequence has begun."""

    def ended(self, sequence: Sequence[StateT], cause: str) -> None:
        """A sequence is gone, for one of the causes in `metric_catalogue.py`."""


class SequenceTable(Generic[StateT]):
    """All live sequences of one backend instance, oldest use first."""

    def __init__(
        self,
        create: Callable[[], StateT],
        free: Callable[[StateT], None] | None = None,
        *,
        idle_secs: float,
        capacity: int | None = None,
        exempt_id: str | None = None,
        observer: SequenceObserver[StateT] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an empty table.

        Args:
            create: makes the state of a new sequence.
            free: releases what the state holds (cache slots); called exactly once for each created state.
            idle_secs: a sequence unused for longer than this is freed.
            capacity: most sequences at once; None for no limit.
            exempt_id: the ID that capacity does not count for.
            observer: told of every sequence that begins and ends.
            clock: monotonic seconds; replaced in tests.
        """
        self._create = create
        self._free = free
        self._idle_secs = idle_secs
        self._capacity = capacity
        self._exempt_id = exempt_id
        self._observer = observer
        self._clock = clock
        self._live: OrderedDict[SequenceId, Sequence[StateT]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Sequence[StateT]]:
        return iter(self._live.values())

    def enter(self, sequence_id: SequenceId, *, start: bool, end: bool) -> Sequence[StateT]:
        """Return the sequence a request belongs to, creating it on START.

        The caller asks for `sequence.failure` only on END; for any other request a failed sequence raises.

        Raises:
            ServerBusy: START beyond capacity.
            SequenceError: no ID; no such sequence; the sequence failed earlier.
        """
        if sequence_id in ("", 0):
            raise SequenceError("correlation ID: none given; streaming requests need a non-empty, non-zero ID")
        if start:
            return self._start(sequence_id)
        sequence = self._live.get(sequence_id)
        if sequence is None:
            raise SequenceError(
                f"sequence {sequence_id!r} is not live here: it never started, has ended, or was idle for more "
                f"than {self._idle_secs:g} s; send START to begin anew"
            )
        if sequence.failure is not None and not end:
            raise SequenceError(
                f"sequence {sequence_id!r} failed earlier ({sequence.failure}); "
                "send END to collect what was recognised, or START to begin anew"
            )
        sequence.last_used = self._clock()
        self._live.move_to_end(sequence_id)
        return sequence

    def fail(self, sequence_id: SequenceId, reason: str) -> None:
        """Let the sequence accept only END from now on. An unknown ID is ignored."""
        sequence = self._live.get(sequence_id)
        if sequence is not None and sequence.failure is None:
            sequence.failure = reason

    def end(self, sequence_id: SequenceId) -> None:
        """Free the sequence. An unknown ID is ignored."""
        sequence = self._live.get(sequence_id)
        if sequence is not None:
            self._remove(sequence, END if sequence.failure is None else ERROR)

    def expire(self) -> int:
        """Free every sequence idle for too long; return how many."""
        oldest_allowed = self._clock() - self._idle_secs
        expired = 0
        while self._live:
            sequence = next(iter(self._live.values()))
            if sequence.last_used >= oldest_allowed:
                break
            self._remove(sequence, IDLE)
            expired += 1
        return expired

    def _remove(self, sequence: Sequence[StateT], cause: str) -> None:
        del self._live[sequence.id]
        if self._free is not None:
            self._free(sequence.state)
        if self._observer is not None:
            self._observer.ended(sequence, cause)

    def _start(self, sequence_id: SequenceId) -> Sequence[StateT]:
        replaced = self._live.get(sequence_id)
        if replaced is not None:
            self._remove(replaced, REPLACED)
        if self._capacity is not None and len(self._live) >= self._capacity and sequence_id != self._exempt_id:
            raise ServerBusy(f"server full: {len(self._live)} of {self._capacity} streams are in use; try again later")
        sequence = Sequence(sequence_id, self._create(), self._clock())
        self._live[sequence_id] = sequence
        if self._observer is not None:
            self._observer.started(sequence)
        return sequence
