"""Streams whose transcripts are known, and which run all the while that others misbehave."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from tests.hostile.wire import Wire, chunk
from tests.server.streams import chunks_of, new_id

# What the witnesses ask for: each exercises other state of the server.
OPTIONS: tuple[dict[str, str | int | bool], ...] = ({}, {"beam_size": 3}, {"phrases": '["dashwood", "family"]'})

# So that the others get their share of the processor.
_PAUSE_SECS = 0.05


def tokens_by_chunk(
    wire: Wire, samples: np.ndarray, options: dict[str, str | int | bool], pause_secs: float = 0.0
) -> list[list[int]]:
    """Stream a recording, with a pause after each chunk; return the tokens of every response.

    Raises:
        AssertionError: a request failed.
    """
    sequence_id = new_id()
    pieces = chunks_of(samples)
    found = []
    for index, piece in enumerate(pieces):
        parameters = options if index == 0 else {}
        answer = wire.send(chunk(sequence_id, piece, start=index == 0, end=index == len(pieces) - 1, **parameters))
        assert answer.ok, f"{answer.status}: {answer.text}"
        found.append(answer.tokens)
        time.sleep(pause_secs)
    return found


@dataclass
class Witnesses:
    """Threads that stream recordings over and over and compare every token with those of an undisturbed run."""

    endpoint: str
    recordings: list[np.ndarray]
    streams: int = 0
    complaints: list[str] = field(default_factory=list)

    def __enter__(self) -> Witnesses:
        wire = Wire(self.endpoint)
        work = [
            (samples, options, tokens_by_chunk(wire, samples, options))
            for samples, options in zip(self.recordings, OPTIONS, strict=False)
        ]
        wire.close()
        assert all(expected[-1] for _, _, expected in work), "a recording without words proves nothing"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=item) for item in work]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, samples: np.ndarray, options: dict[str, str | int | bool], expected: list[list[int]]) -> None:
        wire = Wire(self.endpoint)
        while not self._stop.is_set():
            try:
                found = tokens_by_chunk(wire, samples, options, _PAUSE_SECS)
            except AssertionError as error:
                self.complaints.append(str(error))
            else:
                if found != expected:
                    self.complaints.append(f"{options}: {found} instead of {expected}")
            self.streams += 1
        wire.close()
