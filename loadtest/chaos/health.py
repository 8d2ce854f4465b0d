"""What a load balancer sees of a server: whether it is ready, and for how long it was not."""

from __future__ import annotations

import threading
import time
import urllib.request
from types import TracebackType

_EVERY_SECS = 0.1
_PATIENCE_SECS = 1.0


def is_ready(url: str) -> bool:
    """Ask once."""
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE_SECS) as answer:
            return bool(answer.status == 200)
    except OSError:  # nobody there, no answer in time, or an answer that says no
        return False


class HealthCheck:
    """Asks all the time, in a thread of its own. A context manager."""

    def __init__(self, url: str) -> None:
        """Prepare.

        Args:
            url: of `/v2/health/ready`.
        """
        self._url = url
        self._unready_secs = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="health check", daemon=True)

    @property
    def unready_secs(self) -> float:
        """For how long the server was not ready so far."""
        return self._unready_secs

    def __enter__(self) -> HealthCheck:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        asked = time.monotonic()
        while not self._over.wait(_EVERY_SECS):
            ready = is_ready(self._url)
            now = time.monotonic()
            if not ready:
                self._unready_secs += now - asked
            asked = now
