"""What callers say, and what a server hears of it when nothing disturbs it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amira_asr import AsyncAsrClient, Final, Settings
from amira_asr.audio import MODEL_SAMPLE_RATE, Float32
from loadtest.recordings import Recordings

_LONGEST_SECS = 14.0


@dataclass(frozen=True)
class Script:
    """What the callers of a scenario say.

    Attributes:
        recordings: [samples] float32 each, 16 kHz; callers take them in turn.
        expected: what a server hears of each of them in peace.
        whole: they are sent as whole recordings and not as streams.
    """

    recordings: Sequence[Float32]
    expected: Sequence[Final]
    whole: bool = False

    @staticmethod
    async def heard_in_peace(endpoint: str, recordings: Sequence[Float32], *, whole: bool = False) -> Script:
        """Have each recording recognised, one after the other."""
        heard = []
        async with AsyncAsrClient(Settings(triton_endpoint=endpoint, inference_timeout_secs=60)) as client:
            for audio in recordings:
                if whole:
                    heard.append(await client.transcribe(audio))
                else:
                    heard += [event async for event in client.stream([audio]) if isinstance(event, Final)]
        return Script(recordings, heard, whole)


def turns(count: int = 8, seed: int = 0) -> list[Float32]:
    """Return different turns of callers from the bundled recordings, [samples] float32 each, no longer than 14 s."""
    source = random.Random(seed)
    recordings = Recordings.read()
    return [recordings.turn(source)[: int(_LONGEST_SECS * MODEL_SAMPLE_RATE)] for _ in range(count)]


def monologues(seconds: Sequence[float] = (60, 80, 100, 120), seed: int = 0) -> list[Float32]:
    """Return recordings one after the other with pauses, [samples] float32 each, so many seconds long."""
    source = random.Random(seed)
    recordings = Recordings.read()
    found = []
    for length in seconds:
        parts: list[Float32] = []
        while sum(map(len, parts)) < length * MODEL_SAMPLE_RATE:
            parts.append(recordings.turn(source))
        found.append(np.concatenate(parts)[: int(length * MODEL_SAMPLE_RATE)])
    return found
