"""What callers say, and what a server hears of it when nothing disturbs it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from amira_asr import AsyncAsrClient, Final, Settings
from amira_asr.audio import MODEL_SAMPLE_RATE, Float32
from loadtest.recordings import Recordings

_LONGEST_SECS = 14.0


def turns(count: int = 8, seed: int = 0) -> list[Float32]:
    """Return different turns of callers from the bundled recordings, [samples] float32 each, no longer than 14 s."""
    source = random.Random(seed)
    recordings = Recordings.read()
    return [recordings.turn(source)[: int(_LONGEST_SECS * MODEL_SAMPLE_RATE)] for _ in range(count)]


async def hear_in_peace(endpoint: str, recordings: Sequence[Float32]) -> list[Final]:
    """Return the transcript of each recording, streamed one after the other."""
    heard = []
    async with AsyncAsrClient(Settings(triton_endpoint=endpoint, inference_timeout_secs=60)) as client:
        for audio in recordings:
            heard += [event async for event in client.stream([audio]) if isinstance(event, Final)]
    return heard
