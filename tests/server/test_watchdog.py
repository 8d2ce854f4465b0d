"""What counts as a sign of life, without a server."""

from __future__ import annotations

import pytest

from scripts.serving.draining import Work
from scripts.serving.pipelines import Pipeline
from scripts.serving.triton_http import TritonRefusedError
from scripts.serving.watchdog import OverloadMark, Pulse

PIPELINE = Pipeline("asr", ("first", "last"), ("greedy", "joint"), 60.0)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Http:
    """Answers requests, or does not."""

    error: Exception | None = None

    def recognise_silence(self, *_):
        if self.error is not None:
            raise self.error


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pulse(clock):
    return Pulse(PIPELINE, clock)


def test_an_answer_is_a_sign_of_life_and_an_error_is_none(pulse, clock):
    http = Http()
    clock.now += 5
    assert pulse.silent_secs == 5
    pulse.feel(http, "id", 1.0)
    assert pulse.silent_secs == 0
    http.error = TritonRefusedError("not healthy")
    clock.now += 5
    with pytest.raises(TritonRefusedError):
        pulse.feel(http, "id", 1.0)
    assert (pulse.silent_secs, pulse.error) == (5, " (not healthy)")


def test_work_of_all_models_is_a_sign_of_life_and_of_some_is_none(pulse, clock):
    counts = {"first": 1, "last": 1, "joint": 1}
    pulse.see(Work(0, counts))
    for _ in range(10):  # slow, but alive: no answer within the time, yet every model does something now and then
        for model in counts:
            clock.now += 1
            counts[model] += 1
            pulse.see(Work(9, counts))
        assert pulse.silent_secs <= 3
    for _ in range(10):  # the last one hangs while others go on
        clock.now += 1
        counts["first"] += 1
        pulse.see(Work(9, counts))
    assert pulse.silent_secs >= 10


@pytest.mark.parametrize("called", ["greedy", "joint"])
def test_streams_of_one_search_alone_are_a_sign_of_life(pulse, clock, called):
    counts = {"first": 0, "last": 0, "greedy": 5, "joint": 5}
    pulse.see(Work(0, counts))
    for _ in range(10):
        clock.now += 1
        for model in ("first", "last", called):
            counts[model] += 1
        pulse.see(Work(9, counts))
    assert pulse.silent_secs == 0


def test_the_mark_of_overload_comes_and_goes(tmp_path):
    file = tmp_path / "overloaded"
    mark = OverloadMark(file, 10)
    mark.see(Work(10, {}))
    assert not file.exists()
    mark.see(Work(11, {}))
    assert file.read_text() == "11 of 10"
    mark.see(Work(3, {}))
    assert not file.exists()
