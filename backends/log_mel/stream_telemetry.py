"""What the first step tells about the streams of a server: how many there are, why they ended, how much was said."""

from __future__ import annotations

import time
from collections.abc import Iterable
from logging import Logger
from typing import Any

from common import metric_catalogue as catalogue
from common.arrivals import Arrivals
from common.metrics import Metrics
from common.sequences import Sequence, SequenceId, ServerBusy
from log_mel.stream import Stream


class StreamTelemetry:
    """Observes the sequences of the first step (`sequences.SequenceObserver`), but not the launcher's probes."""

    def __init__(
        self, metrics: Metrics, log: Logger, *, sample_rate: int, limit: int, probe_id: str | None = None
    ) -> None:
        """Register the metrics.

        Args:
            metrics: of the model.
            log: of the model.
            sample_rate: of the audio, Hz.
            limit: streams admitted at once.
            probe_id: the launcher's own stream.
        """
        self._metrics, self._log, self._sample_rate, self._probe_id = metrics, log, sample_rate, probe_id
        self._live = metrics.gauge(catalogue.STREAMS_LIVE)
        metrics.gauge(catalogue.STREAMS_LIMIT).set(limit)
        self._started = metrics.counter(catalogue.STREAMS_STARTED)
        self._ended = metrics.counters(catalogue.STREAMS_ENDED)
        self._refused = metrics.counters(catalogue.STREAMS_REFUSED)
        self._chunks = metrics.counter(catalogue.CHUNKS)
        self._audio_secs = metrics.counter(catalogue.AUDIO_SECONDS)
        self._arrivals = Arrivals.of_server()

    def arrived(self, sequence_id: SequenceId) -> None:
        """A START or END has arrived."""
        if self._arrivals is not None:
            self._arrivals.note(sequence_id)

    def started(self, sequence: Sequence[Stream[Any]]) -> None:
        """As `SequenceObserver`."""
        if sequence.id != self._probe_id:
            self._started.add()
            self._log.info("stream started", extra={"correlation_id": sequence.id})

    def ended(self, sequence: Sequence[Stream[Any]], cause: str) -> None:
        """As `SequenceObserver`."""
        if sequence.id == self._probe_id:
            return
        self._ended[cause].add()
        self._log.info(
            "stream ended",
            extra={
                "correlation_id": sequence.id,
                "cause": cause,
                "audio_secs": round(sequence.state.samples / self._sample_rate, 3),
                "wall_secs": round(time.monotonic() - sequence.state.started, 3),
            },
        )

    def accepted(self, sequence_id: SequenceId, samples: int) -> None:
        """A chunk has been accepted."""
        if sequence_id != self._probe_id:
            self._chunks.add()
            self._audio_secs.add(samples / self._sample_rate)

    def refused(self, results: Iterable[object]) -> None:
        """Count those of the answers to STARTs that are refusals."""
        for result in results:
            if isinstance(result, ServerBusy):
                self._refused[result.kind].add()

    def live(self, streams: int) -> None:
        """Say at once how many streams there are: whoever waits for the last one to end must not wait longer."""
        if streams != self._live.value:
            self._live.set(streams)
            self._metrics.publish(self._live)
