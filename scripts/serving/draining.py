"""Waiting until a server, or one of its pipelines, has nothing left to do, seen from outside through its metrics."""

from __future__ import annotations

import math
import time
import urllib.request
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from scripts.serving.pipelines import Pipeline

# Longer than the time between two steps of a request, so that one in between is not mistaken for none.
QUIET_SECS = 0.5
_POLL_SECS = 0.05


@dataclass(frozen=True)
class Activity:
    """What the metrics say at one moment.

    Attributes:
        live_streams: sequences that the first steps hold.
        pending: requests that wait for a model.
        succeeded: requests answered so far, by model; grows with any activity.
        failed: requests that ended in an error, by model.
    """

    live_streams: int
    pending: int
    succeeded: Counter[str]
    failed: Counter[str]

    def inside(self, pipelines: Collection[Pipeline]) -> int:
        """Whole-utterance requests that have passed the first step and are not answered yet, at least."""
        count = 0
        for first, *between, last in {pipeline.steps for pipeline in pipelines if pipeline.idle_secs is None}:
            left = self.succeeded[last] + self.failed[last] + sum(self.failed[model] for model in between)
            count += self.succeeded[first] - left
        return count


def read_activity(metrics_url: str, models: Collection[str] | None = None) -> Activity:
    """Scrape the server's metrics, of all models or only of some. Raises OSError when it does not answer."""
    with urllib.request.urlopen(metrics_url, timeout=2) as response:
        text = response.read().decode()
    live = pending = 0
    succeeded: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            model = sample.labels.get("model", "")
            if models is not None and model not in models:
                continue
            name = sample.name.removesuffix("_total")  # which the parser puts behind the names of counters
            if name == "amira_streams_live":
                live += int(sample.value)
            elif name == "nv_inference_pending_request_count":
                pending += int(sample.value)
            elif name == "nv_inference_request_success":
                succeeded[model] += int(sample.value)
            elif name == "nv_inference_request_failure":
                failed[model] += int(sample.value)
    return Activity(live, pending, succeeded, failed)


def wait_idle(
    metrics_url: str,
    pipelines: Collection[Pipeline],
    timeout_secs: float,
    *,
    models: Collection[str] | None = None,
    quiet_secs: float = QUIET_SECS,
    abandoned_secs: float = math.inf,
) -> bool:
    """Wait until no stream is live and no request is being worked on.

    Args:
        metrics_url: of the server.
        pipelines: those of the server, or those to wait for.
        timeout_secs: longest wait.
        models: only these are looked at; None for all.
        quiet_secs: how long nothing must have happened.
        abandoned_secs: what is live but has not moved for longer counts as gone: its client never ended it.

    Returns:
        Whether that was reached within `timeout_secs`.
    """
    deadline = time.monotonic() + timeout_secs
    changed, before = time.monotonic(), None
    while time.monotonic() < deadline:
        now = read_activity(metrics_url, models)
        if now != before or now.pending:
            changed, before = time.monotonic(), now
        busy = now.live_streams or now.inside(pipelines) > 0
        if time.monotonic() - changed >= (abandoned_secs if busy else quiet_secs):
            return True
        time.sleep(_POLL_SECS)
    return False
