"""What every model tells about itself: its metrics in Triton's `/metrics`, its log, and whose requests failed."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import triton_python_backend_utils as pb_utils

from common import metric_catalogue as catalogue
from common.error_kinds import INTERNAL, error_kind, without_values
from common.error_text import for_client
from common.json_log import model_log
from common.metrics import Metrics, Series
from common.sequences import SequenceId

if TYPE_CHECKING:
    from common.triton_adapter import Request

# Scrapes are seconds apart.
_PUBLISH_SECS = 1.0
# Less than this is what publishing costs: a model without work shall have nothing to publish.
_CPU_SECS = 0.01
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Telemetry:
    """Metrics and log of one model. `close` belongs into the model's `finalize`.

    Attributes:
        metrics: further ones of the model are added here.
        log: JSON lines.
    """

    def __init__(self, model_name: str, *, batch_sizes: bool = False) -> None:
        """Register what every model has; begin to publish.

        Args:
            model_name: the label of its metrics.
            batch_sizes: whether to keep a histogram of them. Each batch is then a round trip: not for the joint, which
                is called several times a chunk. The means are in Triton's own counters.
        """
        # Kept beside their metrics: a metric whose family is gone raises.
        self._families: dict[str, Any] = {}
        self.metrics = Metrics(self._make_series, model_name)
        self.log = model_log(model_name)
        self._execute_secs = self.metrics.counter(catalogue.EXECUTE_SECONDS)
        self._batch_size = self.metrics.histogram(catalogue.BATCH_SIZE) if batch_sizes else None
        self._errors = self.metrics.counters(catalogue.ERRORS)
        self._cpu_secs = self.metrics.counter(catalogue.CPU_SECONDS)
        self._memory = self.metrics.gauge(catalogue.MEMORY_BYTES)
        self._closing = threading.Event()
        self._publisher = threading.Thread(target=self._publish, name="metrics", daemon=True)
        self._publisher.start()

    def executed(self, requests: Sequence[Request], results: Sequence[object], seconds: float) -> None:
        """Count one batch, its errors and the wall time it took; log the errors."""
        self._execute_secs.add(seconds)
        if self._batch_size is not None:
            self._batch_size.observe(len(requests))
        for request, result in zip(requests, results, strict=True):
            if isinstance(result, Exception):
                self._failed(request, result)

    def close(self) -> None:
        """Publish the last values. Called once."""
        self._closing.set()
        self._publisher.join()

    def _failed(self, request: Request, error: Exception) -> None:
        kind = error_kind(error)
        self._errors[kind].add()
        fields = {**identify(request), "kind": kind}
        if kind == INTERNAL:
            self.log.error("request failed", extra={**fields, "error": for_client(f"{type(error).__name__}: {error}")})
        else:
            said = str(error) if self.log.isEnabledFor(logging.DEBUG) else without_values(str(error))
            self.log.info("request refused", extra={**fields, "error": for_client(said)})

    def _make_series(self, metric: catalogue.Metric, labels: dict[str, str]) -> Series:
        family = self._families.get(metric.name)
        if family is None:
            kind = getattr(pb_utils.MetricFamily, metric.kind.upper())
            family = pb_utils.MetricFamily(name=metric.name, description=metric.text, kind=kind)
            self._families[metric.name] = family
        buckets = {"buckets": list(metric.buckets)} if metric.buckets else {}
        series: Series = family.Metric(labels=labels, **buckets)
        return series

    def _publish(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(_PUBLISH_SECS)
            spent = time.process_time()
            if spent - self._cpu_secs.value > _CPU_SECS:
                self._cpu_secs.value = spent
            with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123  twice a second
                self._memory.set(int(statm.read().split()[1]) * _PAGE_BYTES)
            self.metrics.publish()


def identify(request: Request) -> dict[str, SequenceId]:
    """Return the fields of a log line that say which request it is about."""
    return dict(zip(("correlation_id", "request_id"), request.identity, strict=True))
