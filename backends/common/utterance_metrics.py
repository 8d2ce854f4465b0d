"""A Prometheus counter of whole-utterance requests, at either end of a pipeline: their difference is inside it.

Triton's own counters do not say that: they count a request that a model refuses as a success of the model and as one
or two failures of its ensemble (Triton 2.51).
"""

from __future__ import annotations

import triton_python_backend_utils as pb_utils

from common.triton_adapter import Outputs


class UtteranceMetrics:
    """`amira_utterances_accepted_total` of a first step, `amira_utterances_answered_total` of a last one."""

    def __init__(self, model_name: str, event: str) -> None:
        """Register the counter of `event`, "accepted" or "answered", at zero."""
        # Kept beside its metric: a metric whose family is gone raises.
        self._family = pb_utils.MetricFamily(
            name=f"amira_utterances_{event}_total",
            description=f"Whole-utterance requests {event}",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self._counter = self._family.Metric(labels={"model": model_name})

    def count(self, results: list[Outputs | Exception], *, errors: bool) -> None:
        """Add the results of one call, those that are errors only on demand. A round trip to the server process."""
        number = sum(errors or not isinstance(result, Exception) for result in results)
        if number:
            self._counter.increment(number)
