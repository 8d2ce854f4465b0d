"""A counter of whole-utterance requests, at either end of a pipeline: their difference is inside it.

Triton's own counters do not say that: they count a request that a model refuses as a success of the model and as one
or two failures of its ensemble (Triton 2.51).
"""

from __future__ import annotations

from typing import Any

from common.metric_catalogue import Metric
from common.metrics import Metrics


class UtteranceMetrics:
    """`amira_utterances_accepted_total` of a first step, `amira_utterances_answered_total` of a last one."""

    def __init__(self, metrics: Metrics, metric: Metric) -> None:
        """Register the counter at zero."""
        self._metrics, self._counter = metrics, metrics.counter(metric)

    def count(self, results: list[Any], *, errors: bool) -> None:
        """Add the results of one call, those that are errors only on demand, and say so at once: draining waits."""
        number = sum(errors or not isinstance(result, Exception) for result in results)
        if number:
            self._counter.add(number)
            self._metrics.publish(self._counter)
