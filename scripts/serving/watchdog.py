"""Whether a running server still works: its processes, and a sign of life of every pipeline.

A pipeline lives while all its models execute something, or when it answers a tiny request of ours. So a server that is
only slow counts as alive, and one with a backend that hangs does not, however much it still accepts.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scripts.serving.draining import Work, read_work
from scripts.serving.pipelines import Pipeline
from scripts.serving.triton_http import TritonHttp, TritonRefusedError

# Within the longest silence there are this many tries to get a sign of life.
_TRIES = 3

Cause = Literal["exited", "backend_died", "hung"]


@dataclass(frozen=True)
class Fault:
    """Why a server has to be started anew.

    Attributes:
        cause: for the metric.
        text: for the operator.
    """

    cause: Cause
    text: str


class Pulse:
    """The latest sign of life of one pipeline."""

    def __init__(self, pipeline: Pipeline, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin as alive."""
        self.pipeline, self._clock = pipeline, clock
        self._felt = clock()
        self._executions: dict[tuple[str, ...], int] = {}
        self._changed: dict[tuple[str, ...], float] = {}
        self._error = ""

    @property
    def silent_secs(self) -> float:
        """Seconds since the latest sign of life."""
        return self._clock() - max(self._felt, min(self._changed.values(), default=0.0))

    @property
    def error(self) -> str:
        """What the latest request of ours was answered with, if it was an error."""
        return self._error

    def see(self, work: Work) -> None:
        """Look at how often the models of the pipeline have executed something.

        The models that the last step calls count as one: which of them it calls depends on the search of its streams.
        """
        parts = [*((step,) for step in self.pipeline.steps), self.pipeline.called]
        for models in filter(None, parts):
            count = sum(work.executions.get(model, 0) for model in models)
            if count != self._executions.setdefault(models, count):
                self._executions[models] = count
                self._changed[models] = self._clock()
            self._changed.setdefault(models, 0.0)

    def feel(self, http: TritonHttp, sequence_id: str, timeout_secs: float) -> None:
        """Send a tiny request; remember the time of its answer. Raises OSError, TritonRefusedError."""
        try:
            http.recognise_silence(self.pipeline.ensemble, sequence_id, timeout_secs)
        except TritonRefusedError as error:
            self._error = f" ({error})"
            raise
        self._felt, self._error = self._clock(), ""


class Watchdog:
    """Looks at one run of a server from threads of its own, since a server that hangs does not answer."""

    def __init__(
        self,
        *,
        http: TritonHttp,
        metrics_url: str,
        pipelines: list[Pipeline],
        probe_id: str,
        timeout_secs: float,
        see: Callable[[Work], None],
    ) -> None:
        """Prepare.

        Args:
            http: of the server.
            metrics_url: of the server.
            pipelines: to watch.
            probe_id: correlation ID of the tiny requests.
            timeout_secs: longest silence of a pipeline.
            see: told about the server's work every second.
        """
        self._http, self._metrics_url, self._probe_id = http, metrics_url, probe_id
        self._timeout_secs, self._see = timeout_secs, see
        self._pulses = [Pulse(pipeline) for pipeline in pipelines]
        self._stopped = threading.Event()

    def check_now(self) -> None:
        """Ask every pipeline once. Raises OSError, TritonRefusedError when one cannot answer: it serves nobody."""
        for pulse in self._pulses:
            pulse.feel(self._http, self._probe_id, max(self._timeout_secs, 60.0))

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch_work, name="work", daemon=True).start()
        for pulse in self._pulses:
            threading.Thread(target=self._watch_pulse, args=(pulse,), name=pulse.pipeline.ensemble, daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    @property
    def silent_secs(self) -> float:
        """Seconds since the latest sign of life of the pipeline that has been silent for longest."""
        return max((pulse.silent_secs for pulse in self._pulses), default=0.0)

    def fault(self) -> Fault | None:
        """Return what is wrong; None when nothing is."""
        for pulse in self._pulses:
            if pulse.silent_secs > self._timeout_secs:
                name, silent = pulse.pipeline.ensemble, pulse.silent_secs
                return Fault("hung", f"{name} has given no sign of life for {silent:.0f} s{pulse.error}")
        return None

    def _watch_work(self) -> None:
        while not self._stopped.wait(1.0):
            with contextlib.suppress(OSError):
                work = read_work(self._metrics_url)
                self._see(work)
                for pulse in self._pulses:
                    pulse.see(work)

    def _watch_pulse(self, pulse: Pulse) -> None:
        every = self._timeout_secs / _TRIES
        while not self._stopped.wait(every):
            if pulse.silent_secs >= every / 2:
                with contextlib.suppress(OSError, TritonRefusedError):
                    pulse.feel(self._http, self._probe_id, self._timeout_secs)


class OverloadMark:
    """The file that tells backends that too many requests wait in the server."""

    def __init__(self, file: Path, max_pending: int) -> None:
        """Begin without it."""
        self._file, self._max_pending = file, max_pending
        file.unlink(missing_ok=True)

    def see(self, work: Work) -> None:
        """Make the file, or remove it."""
        if work.pending > self._max_pending:
            new = self._file.with_suffix(".new")
            new.write_text(f"{work.pending} of {self._max_pending}", encoding="utf-8")
            new.replace(self._file)
        else:
            self._file.unlink(missing_ok=True)
