"""Locust users that speak the gRPC streaming protocol. `python -m loadtest.run` starts a server and this.

locust -f loadtest/locustfile.py --headless --host localhost:8001 StreamUser --shape ramp --peak 64 --seconds 120
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import gevent
import grpc.experimental.gevent as grpc_gevent
from locust import LoadTestShape, User, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from tritonclient import grpc

from amira_asr.audio import MODEL_SAMPLE_RATE
from loadtest.recordings import BUNDLED, Recordings
from loadtest.session import Recogniser, StreamFailed, StreamReport, speak
from loadtest.shapes import SHAPES
from loadtest.slo import parse, verdict

# Locust patches the standard library; gRPC has to be told to use gevent, too.
grpc_gevent.init_gevent()

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
RECORDINGS: list[Recordings] = []


@events.init_command_line_parser.add_listener
def _options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--shape", choices=sorted(SHAPES), default="constant", help="users over time")
    parser.add_argument("--peak", type=int, default=8, help="most users")
    parser.add_argument("--seconds", type=float, default=60.0, help="duration")
    parser.add_argument("--slo", default="errors=0", help="objectives, such as p95=300,errors=0,late=1")
    parser.add_argument("--recordings", default=str(BUNDLED), help="folder of what users say")
    parser.add_argument("--model", default="asr_streaming", help="streaming ensemble; its batch twin for BatchUser")
    parser.add_argument("--totals", default="", help="write totals to this JSON file")


@events.test_start.add_listener
def _read(environment: Environment, **_: Any) -> None:
    RECORDINGS[:] = [Recordings.read(Path(environment.parsed_options.recordings))]


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
        self.client = grpc.InferenceServerClient(self.host.removeprefix("http://"))
        gevent.sleep(self.source.uniform(0, 1))

    def on_stop(self) -> None:
        """Hang up."""
        self.client.close()

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

    def on_start(self) -> None:
        """Ask what the recogniser takes."""
        super().on_start()
        self.recogniser = Recogniser.of(self.client, self.environment.parsed_options.model)
        TOTALS.chunk_length_ms = self.recogniser.chunk_secs * 1e3

    @task
    def call(self) -> None:
        """One call."""
        audio = RECORDINGS[0].turn(self.source)
        chunks = len(audio) // self.recogniser.chunk_samples
        chance, cut = self.source.random(), self.source.randint(1, max(1, chunks - 1))
        if chance < _HANG_UP_SHARE:
            TOTALS.hang_ups += 1
            self._speak(audio, hang_up_after=cut)
        elif chance < _HANG_UP_SHARE + _RECONNECT_SHARE:
            TOTALS.reconnects += 1
            self._speak(audio, hang_up_after=cut)
            self._speak(audio[cut * self.recogniser.chunk_samples :])
        else:
            self._speak(audio)
        gevent.sleep(self.source.uniform(0.1, 1.0))

    def _speak(self, audio: Any, hang_up_after: int | None = None) -> None:
        began = time.perf_counter()
        TOTALS.streams += 1
        try:
            heard = speak(self.client, self.recogniser, audio, hang_up_after=hang_up_after, sleep=gevent.sleep)
        except StreamFailed as error:
            TOTALS.fail(str(error))
            self.report("stream", (time.perf_counter() - began) * 1e3, error)
            gevent.sleep(1)  # as a client that waits before it tries again
        else:
            self._note(heard)

    def _note(self, heard: StreamReport) -> None:
        TOTALS.chunk_ms += heard.chunk_ms
        TOTALS.late_chunks += heard.late_chunks
        TOTALS.audio_secs += heard.audio_secs
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
        audio = RECORDINGS[0].utterance(self.source)
        tensor = grpc.InferInput("AUDIO", [1, len(audio)], "FP32")
        tensor.set_data_from_numpy(audio[None])
        model = self.environment.parsed_options.model.replace("streaming", "batch")
        began, failure = time.perf_counter(), None
        try:
            self.client.infer(model, [tensor], client_timeout=60)
            TOTALS.audio_secs += len(audio) / MODEL_SAMPLE_RATE
            TOTALS.recording_ms.append((time.perf_counter() - began) * 1e3)
        except Exception as error:  # whatever the server or the connection says is a result
            failure = error
            TOTALS.fail(str(error))
        self.report("recording", (time.perf_counter() - began) * 1e3, failure)
