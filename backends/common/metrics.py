"""Metrics of one model: counted in plain Python while it works, handed over to Triton now and then.

Every change that is handed over is a round trip to the server process (about 20 µs), so a chunk must not cost several.
Counting costs an addition. `publish` hands over what has changed since; a thread calls it (`triton_metrics.py`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from common.metric_catalogue import Metric


class Series(Protocol):
    """One series in the server process, as `pb_utils.MetricFamily.Metric` makes it."""

    def increment(self, value: float) -> None:
        """Add to a counter."""

    def set(self, value: float) -> None:
        """Set a gauge."""

    def observe(self, value: float) -> None:
        """Add an observation to a histogram."""


class Counter:
    """A sum that grows. One thread adds, another publishes: neither writes what the other does."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self.value = 0.0
        self._published = 0.0

    def add(self, amount: float = 1.0) -> None:
        """Add an amount."""
        self.value += amount

    def publish(self) -> None:
        """Hand over what was added since."""
        value = self.value
        if value != self._published:
            self._series.increment(value - self._published)
            self._published = value


class Gauge:
    """A value that comes and goes."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self.value = 0.0
        self._published: float | None = None

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = value

    def publish(self) -> None:
        """Hand over the value if it is new."""
        value = self.value
        if value != self._published:
            self._series.set(value)
            self._published = value


class Histogram:
    """Observations, by buckets."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._waiting: deque[float] = deque()

    def observe(self, value: float) -> None:
        """Add an observation."""
        self._waiting.append(value)

    def publish(self) -> None:
        """Hand over the observations since."""
        for _ in range(len(self._waiting)):
            self._series.observe(self._waiting.popleft())


_MetricT = TypeVar("_MetricT", Counter, Gauge, Histogram)


class Metrics:
    """The metrics of one model. They are made while it is initialised, all series of a metric at once."""

    def __init__(self, make_series: Callable[[Metric, dict[str, str]], Series], model_name: str) -> None:
        """Remember how to make a series of a metric with labels, and the label `model`."""
        self._make_series, self._model_name = make_series, model_name
        self._all: list[Counter | Gauge | Histogram] = []
        # Two threads at one series of Triton's crash the server (2.51).
        self._publishing = threading.Lock()

    def counter(self, metric: Metric) -> Counter:
        """Add a counter."""
        return self._added(Counter(self._series(metric)))

    def counters(self, metric: Metric) -> dict[str, Counter]:
        """Add a counter for each value of the metric's label; return them by value."""
        return {value: self._added(Counter(self._series(metric, value))) for value in metric.values}

    def gauge(self, metric: Metric) -> Gauge:
        """Add a gauge."""
        return self._added(Gauge(self._series(metric)))

    def gauges(self, metric: Metric) -> dict[str, Gauge]:
        """Add a gauge for each value of the metric's label; return them by value."""
        return {value: self._added(Gauge(self._series(metric, value))) for value in metric.values}

    def histogram(self, metric: Metric) -> Histogram:
        """Add a histogram."""
        return self._added(Histogram(self._series(metric)))

    def publish(self, *only: Counter | Gauge) -> None:
        """Hand over everything that has changed, or some of it that cannot wait. Any thread may call it."""
        with self._publishing:
            for one in only or self._all:
                one.publish()

    def _series(self, metric: Metric, value: str | None = None) -> Series:
        labels = {"model": self._model_name}
        if metric.label is not None and value is not None:
            labels[metric.label] = value
        return self._make_series(metric, labels)

    def _added(self, one: _MetricT) -> _MetricT:
        self._all.append(one)
        return one
