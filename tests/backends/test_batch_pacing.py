"""When the first step rests."""

from __future__ import annotations

import pytest

from log_mel.batch_pacing import BatchPacing
from log_mel.stream import Stream

_RATE, _CHUNK_SECS = 16000, 0.56


def batch(
    chunks: int, *, ahead_secs: float = _CHUNK_SECS, start: bool = False, end: bool = False, live: int = 32
) -> float:
    """Rest after a batch of streams that have sent so much more than has passed, the last of which may end."""
    pacing = BatchPacing(0.035, _RATE, _CHUNK_SECS, clock=lambda: 100.0)
    for index in range(chunks):
        samples = round(_RATE * (10 + ahead_secs))
        stream = Stream(None, samples=samples, started=90.0)
        pacing.received(stream, start=start, end=end and index == chunks - 1)
    rest = pacing.rest_secs(live)
    assert pacing.rest_secs(live) == 0  # the next batch has begun
    return rest


def test_the_rest_is_longest_after_a_chunk_that_came_alone():
    assert batch(1) == pytest.approx(0.035 * 7 / 8)
    assert batch(4) == pytest.approx(0.035 / 2)
    assert batch(8) == batch(32) == 0


def test_streams_that_send_faster_than_speech_do_not_wait():
    assert batch(1, ahead_secs=-3.0) > 0
    assert batch(1, ahead_secs=2 * _CHUNK_SECS) == 0


def test_nobody_waits_behind_the_start_or_end_of_a_stream():
    assert batch(2, start=True) == batch(2, end=True) == 0


def test_there_is_no_rest_when_nobody_is_expected():
    assert batch(1, live=15) == 0
    assert batch(1, live=17) > 0


def test_a_batch_without_audio_has_no_rest():
    assert batch(0) == 0
