"""What the decoder tells about its work: labels, joint calls, segments, and how soon there was an answer."""

from __future__ import annotations

import time
from collections.abc import Sequence as Items
from typing import Any

import numpy.typing as npt

from common import metric_catalogue as catalogue
from common.arrivals import Arrivals
from common.metrics import Metrics
from common.sequences import Sequence, SequenceId
from rnnt_decoder.stream import Stream


class DecodingTelemetry:
    """Metrics of a decoder, of whole utterances, too."""

    def __init__(self, metrics: Metrics) -> None:
        """Register the metrics."""
        self._labels = metrics.counter(catalogue.LABELS)
        self._segments = metrics.counters(catalogue.SEGMENTS)
        self._joint_calls = metrics.counter(catalogue.JOINT_CALLS)
        self._joint_rows = metrics.counter(catalogue.JOINT_ROWS)
        self._joint_secs = metrics.counter(catalogue.JOINT_SECONDS)

    def asked_joint(self, rows: int, seconds: float) -> None:
        """Count one call of the joint."""
        self._joint_calls.add()
        self._joint_rows.add(rows)
        self._joint_secs.add(seconds)

    def decoded(self, labels: int) -> None:
        """Count labels that will not change any more."""
        self._labels.add(labels)

    def answered(self, outputs: dict[str, npt.NDArray[Any]]) -> None:
        """Count the segments that ended with an answer."""
        for rule in outputs["ENDPOINTS"][0]:
            self._segments[rule.decode()].add()


class StreamLatency:
    """How long streams wait for their first words and for their last. Observes sequences (`SequenceObserver`)."""

    def __init__(self, metrics: Metrics) -> None:
        """Register the metrics; finals only where the arrivals of requests are known."""
        self._first_partial = metrics.histogram(catalogue.FIRST_PARTIAL_SECONDS)
        self._arrivals = Arrivals.of_server()
        self._final = metrics.histogram(catalogue.FINAL_SECONDS)
        self._started_at: dict[SequenceId, float] = {}  # of streams without a word so far

    def started(self, sequence: Sequence[Any]) -> None:
        """As `SequenceObserver`."""
        age = self._arrivals.age(sequence.id) if self._arrivals is not None else None
        self._started_at[sequence.id] = time.monotonic() - (age or 0.0)

    def ended(self, sequence: Sequence[Any], cause: str) -> None:  # noqa: ARG002  the protocol's
        """As `SequenceObserver`."""
        self._started_at.pop(sequence.id, None)

    def answered(self, sequence_id: SequenceId, outputs: dict[str, npt.NDArray[Any]], *, end: bool) -> None:
        """Observe an answer that is ready."""
        if sequence_id in self._started_at and outputs["TOKENS"].size:
            self._first_partial.observe(time.monotonic() - self._started_at.pop(sequence_id))
        if end and self._arrivals is not None:
            age = self._arrivals.age(sequence_id)
            if age is not None:
                self._final.observe(age)


def settled_labels(streams: Items[Stream], ends: Items[bool]) -> int:
    """Return how many labels of the segments not answered yet will not change any more; at the end that is all."""
    return sum(
        sum(len(segment.tokens) for segment in stream.finished)
        + (len(stream.alternatives()[0].tokens) if end else stream.stable_tokens)
        for stream, end in zip(streams, ends, strict=True)
    )
