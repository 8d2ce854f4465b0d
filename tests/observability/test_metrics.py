"""Counting and publishing, without a server."""

from __future__ import annotations

import threading

import pytest

from common import metric_catalogue as catalogue
from common.arrivals import Arrivals
from common.error_kinds import error_kind, without_values
from common.metrics import Metrics
from common.sequences import SequenceError, SequenceTable, ServerBusy


class FakeSeries:
    """What Triton would hold; notes how often it was called, and refuses two callers at once, as Triton crashes."""

    def __init__(self):
        self.value = 0.0
        self.observed: list[float] = []
        self.calls = 0
        self._busy = threading.Lock()

    def increment(self, value):
        assert self._busy.acquire(blocking=False)
        self.calls += 1
        self.value += value
        self._busy.release()

    def set(self, value):
        self.calls += 1
        self.value = value

    def observe(self, value):
        self.calls += 1
        self.observed.append(value)


class Recorder:
    """Metrics and the series that they made, by name and labels."""

    def __init__(self):
        self.series: dict[tuple, FakeSeries] = {}
        self.metrics = Metrics(self._make, "m")

    def _make(self, metric, labels):
        return self.series.setdefault((metric.name, *sorted(labels.items())), FakeSeries())

    def __getitem__(self, metric):
        return self.series[metric.name, ("model", "m")]

    def by_label(self, metric):
        return {dict(key[1:])[metric.label]: one.value for key, one in self.series.items() if key[0] == metric.name}


@pytest.fixture
def recorder():
    return Recorder()


def test_a_publication_costs_a_call_for_what_changed(recorder):
    counter = recorder.metrics.counter(catalogue.CHUNKS)
    gauge = recorder.metrics.gauge(catalogue.STREAMS_LIVE)
    for _ in range(100):
        counter.add(0.5)
    recorder.metrics.publish()
    recorder.metrics.publish()
    gauge.set(3)
    recorder.metrics.publish()
    assert (recorder[catalogue.CHUNKS].value, recorder[catalogue.CHUNKS].calls) == (50, 1)
    assert (recorder[catalogue.STREAMS_LIVE].value, recorder[catalogue.STREAMS_LIVE].calls) == (3, 2)


def test_all_series_of_a_label_exist_from_the_start(recorder):
    recorder.metrics.counters(catalogue.ERRORS)["internal"].add()
    recorder.metrics.publish()
    assert recorder.by_label(catalogue.ERRORS) == {kind: float(kind == "internal") for kind in catalogue.ERRORS.values}


def test_observations_are_published_once(recorder):
    histogram = recorder.metrics.histogram(catalogue.FINAL_SECONDS)
    histogram.observe(0.1)
    recorder.metrics.publish()
    histogram.observe(0.2)
    recorder.metrics.publish()
    assert recorder[catalogue.FINAL_SECONDS].observed == [0.1, 0.2]


def test_threads_may_publish_at_once_and_nothing_is_lost(recorder):
    counter = recorder.metrics.counter(catalogue.CHUNKS)
    done = threading.Event()

    def publish():
        while not done.is_set():
            recorder.metrics.publish()

    publishers = [threading.Thread(target=publish) for _ in range(3)]
    for thread in publishers:
        thread.start()
    for _ in range(20_000):
        counter.add()
    done.set()
    for thread in publishers:
        thread.join()
    recorder.metrics.publish()
    assert recorder[catalogue.CHUNKS].value == 20_000


class Observer:
    def __init__(self):
        self.events = []

    def started(self, sequence):
        self.events.append((sequence.id, "start"))

    def ended(self, sequence, cause):
        self.events.append((sequence.id, cause))


def test_every_sequence_that_started_ends_for_one_cause():
    now, observer = [0.0], Observer()
    table = SequenceTable(list, idle_secs=10, observer=observer, clock=lambda: now[0])
    for name in ("ended", "failed", "replaced", "idle"):
        table.enter(name, start=True, end=False)
    table.fail("failed", "why")
    table.end("failed")
    table.end("ended")
    table.end("ended")
    table.enter("replaced", start=True, end=False)
    now[0] = 11.0
    table.expire()
    ends = [(name, cause) for name, cause in observer.events if cause != "start"]
    assert ends == [
        ("failed", "error"),
        ("ended", "end"),
        ("replaced", "replaced"),
        ("idle", "idle"),
        ("replaced", "idle"),
    ]
    assert sum(cause == "start" for _, cause in observer.events) == 5


def test_errors_have_a_kind():
    assert error_kind(ValueError("AUDIO is wrong")) == "request"
    assert error_kind(SequenceError("not live")) == "sequence"
    assert error_kind(ServerBusy("full")) == "full"
    assert error_kind(ServerBusy("bye", "stopping")) == "stopping"
    assert error_kind(RuntimeError("joint")) == "internal"


def test_what_a_caller_sent_is_cut_out_of_messages():
    assert without_values("""phrases: 'Ann Lee' has "é"; allowed: text""") == "phrases: '…' has '…'; allowed: text"


def test_arrivals_are_seen_by_another_mapping_of_the_file(tmp_path):
    first, last = Arrivals(tmp_path / "arrivals"), Arrivals(tmp_path / "arrivals")
    assert last.age("a") is None
    first.note("a")
    assert 0 <= last.age("a") < 5
    assert last.age("b") is None


def test_names_are_as_prometheus_expects():
    names = [metric.name for metric in catalogue.ALL]
    assert len(names) == len(set(names)) > 20
    for metric in catalogue.ALL:
        assert metric.name.startswith("amira_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not metric.name.endswith(("_ms", "_us", "_millis", "_minutes"))
        assert (metric.label is None) == (not metric.values)
        assert (metric.kind == "histogram") == bool(metric.buckets)
