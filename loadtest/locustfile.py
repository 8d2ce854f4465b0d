"""Locust users that speak the gRPC streaming protocol. `python -m loadtest.run` starts a server and this.

locust -f loadtest/locustfile.py --headless --host localhost:8001 StreamUser --shape ramp --peak 64 --seconds 120
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import gevent
from locust import LoadTestShape, User, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from loadtest.recordings import BUNDLED
from loadtest.shapes import SHAPES
from loadtest.slo import parse, verdict
from loadtest.speakers import Call, Heard, Speakers

_HANG_UP_SHARE = 0.05  # of the callers leave without END
_RECONNECT_SHARE = 0.05  # of them are cut off and call again for the rest


class Totals:
    """What Locust's own statistics have no place for."""

    def __init__(self) -> None:
        self.chunk_ms: list[float] = []
        self.first_partial_ms: list[float] = []
        self.final_ms: list[float] = []
        self.recording_ms: list[float] = []
        self.late_chunks = self.streams = self.hang_ups = self.reconnects = 0
        self.audio_secs = self.chunk_length_ms = 0.0
        self.errors: dict[str, int] = {}

    def fail(self, kind: str) -> None:
        """Count an error."""
        self.errors[kind] = self.errors.get(kind, 0) + 1


TOTALS = Totals()
SPEAKERS: list[Speakers] = []


@events.init_command_line_parser.add_listener
def _options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--shape", choices=sorted(SHAPES), default="constant", help="users over time")
    parser.add_argument("--peak", type=int, default=8, help="most users")
    parser.add_argument("--seconds", type=float, default=60.0, help="duration")
    parser.add_argument("--slo", default="errors=0", help="objectives, such as p95=300,errors=0,late=1")
    parser.add_argument("--recordings", default=str(BUNDLED), help="folder of what users say")
    parser.add_argument("--model", default="asr_streaming", help="streaming ensemble; its batch twin for BatchUser")
    parser.add_argument("--totals", default="", help="write totals to this JSON file")


@events.init.add_listener  # before the clock of the shape runs: on a busy machine this takes seconds
@events.test_start.add_listener  # of a further test from the web page
def _start(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    endpoint = (environment.host or "localhost:8001").removeprefix("http://")
    if not SPEAKERS:
        SPEAKERS.append(Speakers(endpoint, options.model, Path(options.recordings)))


@events.test_stop.add_listener
def _stop(**_: Any) -> None:
    while SPEAKERS:
        SPEAKERS.pop().close()


@events.quitting.add_listener
def _conclude(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    answered = TOTALS.chunk_ms or TOTALS.recording_ms  # objectives are about chunks, where there are streams
    met, line = verdict(parse(options.slo), answered, sum(TOTALS.errors.values()), TOTALS.late_chunks)
    print(line, flush=True)
    if options.totals:
        totals = {**vars(TOTALS), "chunk_ms": [round(value, 2) for value in TOTALS.chunk_ms], "met": met}
        Path(options.totals).write_text(json.dumps(totals))
    environment.process_exit_code = 0 if met else 1


class OverTime(LoadTestShape):
    """As many users as `--shape` says."""

    def tick(self) -> tuple[int, float] | None:
        """Return users and spawn rate; None at the end."""
        options = self.runner.environment.parsed_options
        elapsed = self.get_run_time()
        if elapsed >= options.seconds:
            return None
        return SHAPES[options.shape](elapsed, options.seconds, options.peak), options.peak


class Caller(User):
    """What both kinds of users share."""

    abstract = True
    wait_time = constant(0)

    def on_start(self) -> None:
        """Connect; calls do not begin all at once."""
        self.source = random.Random()
        self.line = SPEAKERS[0].line()
        gevent.sleep(self.source.uniform(0, 1))

    def on_stop(self) -> None:
        """Hang up."""
        self.line.close()

    def say(self, kind: str, begin: float = 0.0, end: float | None = None, seed: int | None = None) -> Heard:
        """Have something said and report a failure."""
        heard = self.line.say(Call(kind, self.source.getrandbits(32) if seed is None else seed, begin, end))
        TOTALS.audio_secs += heard.audio_secs
        if heard.error is not None:
            TOTALS.fail(heard.error)
            self.report(kind, heard.took_ms, RuntimeError(heard.error))
            gevent.sleep(1)  # as a client that waits before it tries again
        return heard

    def report(self, name: str, milliseconds: float, error: Exception | None = None) -> None:
        """Tell Locust about one request."""
        self.environment.events.request.fire(
            request_type=type(self).__name__,
            name=name,
            response_time=milliseconds,
            response_length=0,
            exception=error,
            context={},
        )


class StreamUser(Caller):
    """Calls, speaks, listens, hangs up; sometimes without a word, sometimes to call again."""

    @task
    def call(self) -> None:
        """One call."""
        seed, chance, cut = self.source.getrandbits(32), self.source.random(), self.source.random()
        if chance < _HANG_UP_SHARE:
            TOTALS.hang_ups += 1
            self._speak(seed, end=cut)
        elif chance < _HANG_UP_SHARE + _RECONNECT_SHARE:
            TOTALS.reconnects += 1
            self._speak(seed, end=cut)
            self._speak(seed, begin=cut)
        else:
            self._speak(seed)
        gevent.sleep(self.source.uniform(0.1, 1.0))

    def _speak(self, seed: int, begin: float = 0.0, end: float | None = None) -> None:
        TOTALS.streams += 1
        heard = self.say("stream", begin, end, seed)
        if heard.error is not None:
            return
        TOTALS.chunk_length_ms = heard.chunk_length_ms
        TOTALS.chunk_ms += heard.chunk_ms
        TOTALS.late_chunks += heard.late_chunks
        for latency in heard.chunk_ms:
            self.report("chunk", latency)
        if heard.first_partial_ms is not None:
            TOTALS.first_partial_ms.append(heard.first_partial_ms)
            self.report("time to first partial", heard.first_partial_ms)
        if heard.final_ms is not None:
            TOTALS.final_ms.append(heard.final_ms)
            self.report("final after end of speech", heard.final_ms)


class BatchUser(Caller):
    """Sends whole recordings, one after the other."""

    @task
    def transcribe(self) -> None:
        """One recording."""
        heard = self.say("recording")
        if heard.error is None:
            TOTALS.recording_ms.append(heard.took_ms)
            self.report("recording", heard.took_ms)
