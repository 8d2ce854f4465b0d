"""Waiting until a server, or one of its pipelines, has nothing left to do, seen from outside through its metrics."""

from __future__ import annotations

import contextlib
import math
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from scripts.serving.pipelines import Pipeline
from scripts.serving.triton_http import TritonHttp, TritonRefusedError

# Longer than the time between two steps of a request, so that one in between is not mistaken for none.
QUIET_SECS = 0.5
# An utterance on which no step has ended for so long was lost to an error between the first and the last one.
_LONGEST_STEP_SECS = 20.0
_POLL_SECS = 0.05
_NUDGE_SECS = 1.0
_ACTIVITY = {
    "amira_streams_live",
    "amira_utterances_accepted",
    "amira_utterances_answered",
    "nv_inference_pending_request_count",
    "nv_inference_request_success",
    "nv_inference_request_failure",
}


@dataclass(frozen=True)
class Activity:
    """What the metrics say at one moment.

    Attributes:
        live_streams: sequences that the first steps hold.
        utterances: whole-utterance requests that have passed the first step and not the last one.
        pending: requests that wait for a model.
        completed: requests completed so far; grows with any activity.
    """

    live_streams: int = 0
    utterances: int = 0
    pending: int = 0
    completed: int = 0


def read_activity(metrics_url: str, models: Collection[str]) -> Activity:
    """Scrape the server's metrics of some models. Raises OSError when it does not answer."""
    sums: Counter[str] = Counter()
    for name, model, value in _samples(metrics_url):
        if model in models and name in _ACTIVITY:  # quantiles without a request are no numbers
            sums[name] += int(value)
    return Activity(
        live_streams=sums["amira_streams_live"],
        utterances=sums["amira_utterances_accepted"] - sums["amira_utterances_answered"],
        pending=sums["nv_inference_pending_request_count"],
        completed=sums["nv_inference_request_success"] + sums["nv_inference_request_failure"],
    )


@dataclass(frozen=True)
class Work:
    """What a server does at one moment.

    Attributes:
        pending: requests that wait for any model.
        executions: how often each model has executed something so far.
    """

    pending: int
    executions: Mapping[str, int]


def read_work(metrics_url: str) -> Work:
    """Scrape the server's metrics. Raises OSError when it does not answer."""
    pending, executions = 0, Counter[str]()
    for name, model, value in _samples(metrics_url):
        if name == "nv_inference_pending_request_count":
            pending += int(value)
        elif name == "nv_inference_exec_count":
            executions[model] += int(value)
    return Work(pending, executions)


def _samples(metrics_url: str) -> Iterator[tuple[str, str, float]]:
    """Yield name, model and value of every sample."""
    with urllib.request.urlopen(metrics_url, timeout=2) as response:
        text = response.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # The parser puts _total behind the names of counters that lack it.
            yield sample.name.removesuffix("_total"), sample.labels.get("model", ""), sample.value


def wait_idle(
    metrics_url: str,
    models: Collection[str],
    timeout_secs: float,
    *,
    quiet_secs: float = QUIET_SECS,
    abandoned_secs: float = math.inf,
    nudge: Callable[[], None] | None = None,
) -> bool:
    """Wait until no stream is live and no request is being worked on.

    Args:
        metrics_url: of the server.
        models: those to look at. Triton keeps the metrics of models that are gone, so never all.
        timeout_secs: longest wait.
        quiet_secs: how long nothing must have happened.
        abandoned_secs: streams that are silent for longer count as gone: their clients never ended them.
        nudge: called every second while there are streams. A first step forgets those that have been idle for too
            long when something else comes, and nothing may come any more.

    Returns:
        Whether that was reached within `timeout_secs`.
    """
    deadline = time.monotonic() + timeout_secs
    changed, before = time.monotonic(), None
    nudged = time.monotonic()
    while time.monotonic() < deadline:
        now = read_activity(metrics_url, models)
        if now != before or now.pending:
            changed, before = time.monotonic(), now
        needed = max(
            quiet_secs,
            abandoned_secs if now.live_streams else 0.0,
            _LONGEST_STEP_SECS if now.utterances else 0.0,
        )
        if time.monotonic() - changed >= needed:
            return True
        if nudge is not None and now.live_streams and time.monotonic() - nudged >= _NUDGE_SECS:
            nudge()
            nudged = time.monotonic()
        time.sleep(_POLL_SECS)
    return False


def forget_abandoned(http: TritonHttp, pipelines: Collection[Pipeline], probe_id: str) -> None:
    """Have every streaming pipeline forget the streams that nobody ended, by a tiny request.

    Args:
        http: of the server.
        pipelines: of the server.
        probe_id: correlation ID that is let in while the server stops.
    """
    for pipeline in pipelines:
        if pipeline.idle_secs is not None:
            with contextlib.suppress(OSError, TritonRefusedError):
                http.recognise_silence(pipeline.ensemble, probe_id, _NUDGE_SECS)
