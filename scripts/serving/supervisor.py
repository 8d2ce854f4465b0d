"""Starting a server anew when it has died or hangs; giving up when that does not help."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from scripts.serving.pipelines import read_pipelines
from scripts.serving.server import ServerStartError, TritonServer
from scripts.serving.triton_http import TritonRefusedError
from scripts.serving.watchdog import Fault, OverloadMark, Watchdog

_POLL_SECS = 0.25
_FIRST_PAUSE_SECS, _LONGEST_PAUSE_SECS = 0.5, 30.0
# A server that has served for so long is started anew at once: its callers wait. One that has not may need a pause.
_STEADY_SECS = 10.0


@dataclass(frozen=True)
class SupervisorOptions:
    """How patient to be.

    Attributes:
        watchdog_secs: longest silence of a pipeline.
        max_restarts: how often a server is started anew within `window_secs` before it is given up.
        window_secs: as said.
        max_pending: requests that may wait in the server.
    """

    watchdog_secs: float
    max_restarts: int
    max_pending: int
    window_secs: float = 600.0


class Supervisor:
    """Runs one server until it is given up."""

    def __init__(self, server: TritonServer, options: SupervisorOptions, say: Callable[[str], None]) -> None:
        """Take over a server that is not started.

        Args:
            server: keeps its ports over restarts.
            options: how patient to be.
            say: told what happens.
        """
        self._server, self._options, self._say = server, options, say
        self._watchdog: Watchdog | None = None
        self._restarts: deque[float] = deque()
        self._causes: Counter[str] = Counter()
        self._started = math.inf
        self._short_runs = 0  # one after the other

    def start(self) -> None:
        """Start the server and wait until it has recognised something. Raises ServerStartError."""
        server = self._server
        self._started = math.inf
        server.start(restarts=self._causes)
        server.wait_ready()
        overload = OverloadMark(server.overload_file, self._options.max_pending)
        self._watchdog = Watchdog(
            http=server.http,
            metrics_url=server.metrics_url,
            pipelines=read_pipelines(server.options.model_repository),
            probe_id=server.probe_id,
            timeout_secs=self._options.watchdog_secs,
            see=overload.see,
        )
        try:
            self._watchdog.check_now()
        except (OSError, TritonRefusedError) as error:
            raise ServerStartError(f"the server is ready but does not work: {error}\n{server.log_tail()}") from error
        self._watchdog.start()
        self._started = time.monotonic()

    def run(self) -> None:
        """Watch the server, and start it anew whenever it has to be; return when it is given up."""
        fault: Fault | None = self._watch()
        while fault is not None:
            self._say(fault.text)
            self.stop_watching()
            self._server.kill()
            if not self._may_restart():
                self._say(f"given up after {len(self._restarts)} restarts in {self._options.window_secs:g} s")
                return
            if time.monotonic() - self._started > _STEADY_SECS:
                self._short_runs = 0
            time.sleep(min(_FIRST_PAUSE_SECS * 2**self._short_runs, _LONGEST_PAUSE_SECS))
            self._short_runs += 1
            self._causes[fault.cause] += 1
            try:
                self.start()
            except ServerStartError as error:
                fault = Fault("exited", str(error))
            else:
                self._say(f"restarted ({fault.cause})")
                fault = self._watch()

    def stop_watching(self) -> None:
        """Leave the server alone, before it is stopped on purpose."""
        if self._watchdog is not None:
            self._watchdog.stop()

    def _may_restart(self) -> bool:
        now = time.monotonic()
        while self._restarts and now - self._restarts[0] > self._options.window_secs:
            self._restarts.popleft()
        if len(self._restarts) >= self._options.max_restarts:
            return False
        self._restarts.append(now)
        return True

    def _watch(self) -> Fault:
        """Wait for a fault. A server that is silent for half the time it may be is not ready meanwhile."""
        watchdog, server = self._watchdog, self._server
        if watchdog is None:
            raise RuntimeError("the server is not started")
        while True:
            if (status := server.poll()) is not None:
                return Fault("exited", f"tritonserver ended by itself with status {status}\n{server.log_tail()}")
            if (model := server.stubs.dead()) is not None:
                return Fault("backend_died", f"the backend process of {model} has died")
            if (fault := watchdog.fault()) is not None:
                return fault
            server.set_ready(ready=watchdog.silent_secs < self._options.watchdog_secs / 2)
            time.sleep(_POLL_SECS)
