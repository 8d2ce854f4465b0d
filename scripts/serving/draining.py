"""Waiting until a server has nothing left to do, seen from outside through its metrics."""

from __future__ import annotations

import time
import urllib.request
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

# Longer than the time between two steps of a request, so that one in between is not mistaken for none.
QUIET_SECS = 0.5
_POLL_SECS = 0.05


@dataclass(frozen=True)
class Activity:
    """What the metrics say at one moment.

    Attributes:
        live_streams: sequences that the first step holds.
        pending: requests that wait for a model.
        completed: requests completed so far, by model; grows with any activity.
    """

    live_streams: int
    pending: int
    completed: dict[str, int]

    @property
    def inside(self) -> int:
        """Whole-utterance requests that have passed the first step and are not answered yet, at least."""
        entered = self.completed.get("preprocessor_batch", 0)
        return entered - self.completed.get("asr_batch", 0)


def read_activity(metrics_url: str) -> Activity:
    """Scrape the server's metrics. Raises OSError when it does not answer."""
    with urllib.request.urlopen(metrics_url, timeout=2) as response:
        text = response.read().decode()
    live = pending = 0
    completed: dict[str, int] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "amira_streams_live":
                live += int(sample.value)
            elif sample.name == "nv_inference_pending_request_count":
                pending += int(sample.value)
            elif sample.name in ("nv_inference_request_success", "nv_inference_request_failure"):
                model = sample.labels["model"]
                completed[model] = completed.get(model, 0) + int(sample.value)
    return Activity(live, pending, completed)


def wait_idle(metrics_url: str, timeout_secs: float) -> bool:
    """Wait until no stream is live and no request is being worked on.

    Returns:
        Whether that was reached within `timeout_secs`.
    """
    deadline = time.monotonic() + timeout_secs
    quiet_since, before = time.monotonic(), None
    while time.monotonic() < deadline:
        now = read_activity(metrics_url)
        if now != before or now.live_streams or now.pending or now.inside > 0:
            quiet_since, before = time.monotonic(), now
        if time.monotonic() - quiet_since >= QUIET_SECS:
            return True
        time.sleep(_POLL_SECS)
    return False
