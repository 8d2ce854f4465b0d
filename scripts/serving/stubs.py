"""The backend processes of a server, one for each instance of a Python model."""

from __future__ import annotations

import contextlib
import re
import time

import psutil

_NAME = "triton_python_backend_stub"
_LOOK_SECS = 2.0
# One that Triton unloads is a zombie for a moment, too.
_ZOMBIE_SECS = 0.5


class Stubs:
    """Those of one run of a server."""

    def __init__(self, server_pid: int) -> None:
        """Remember the server. Looks for no process yet."""
        self._server_pid = server_pid
        self._known: dict[psutil.Process, str] = {}  # with the name of the model instance
        self._zombies: dict[psutil.Process, float] = {}
        self._looked = -_LOOK_SECS

    def dead(self) -> str | None:
        """Return the model of one that has died by itself; None when there is none. Cheap enough to ask often."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECS:
            self._look()
            self._looked = now
        for process in list(self._known):
            try:
                died = process.status() == psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:  # Triton has taken it away, as it does when a model is unloaded
                del self._known[process]
                died = False
            if not died:
                self._zombies.pop(process, None)
            elif now - self._zombies.setdefault(process, now) >= _ZOMBIE_SECS:
                return self._known[process]
        return None

    def _look(self) -> None:
        """Find processes that are new. Every process of the machine is looked at, so not often."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._server_pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    instance = _instance_of(child)
                    if instance is not None:
                        self._known.setdefault(child, instance)


def model_of(process: psutil.Process) -> str:
    """Return the model that a backend process serves; "" for another process. Raises psutil.NoSuchProcess."""
    return re.sub(r"(_\d+){2}$", "", _instance_of(process) or "")


def _instance_of(process: psutil.Process) -> str | None:
    """Return the model instance of a backend process, as in `encoder_0_0`; None for another process."""
    words = process.cmdline()
    if not words or not words[0].endswith(_NAME):
        return None
    # After the model's file come names and numbers for the stub itself.
    names = [word for word in words[4:] if "/" not in word and not word.isdigit()]
    return next(iter(names), "")
