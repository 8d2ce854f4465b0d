"""What the launcher tells backends: Triton tells them nothing about the server, so files and variables do.

Triton's own graceful exit breaks ensembles: a request in flight fails at its next step ("scheduler for model has
stopped accepting new inference requests"). So the launcher drains first: it makes a file, the first step of each
pipeline refuses what is new, and only when nothing is left does Triton get its signal. Where there is no launcher,
nothing is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.metric_catalogue import OVERLOADED, STOPPING
from common.sequences import SequenceId, ServerBusy

RUNTIME_FOLDER = "AMIRA_RUNTIME_FOLDER"
PROBE_ID = "AMIRA_PROBE_ID"
RESTARTS = "AMIRA_RESTARTS"
_DRAINING, _OVERLOADED = "draining", "overloaded"


@dataclass(frozen=True)
class Launcher:
    """The launcher of this server, as a backend sees it.

    Attributes:
        folder: where its files are; None where there is no launcher.
        probe_id: correlation ID of its own tiny requests, which no limit may refuse; a secret of this server.
        restarts: how often it has started the server anew, by cause.
    """

    folder: Path | None = None
    probe_id: str | None = None
    restarts: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def find(environment: Mapping[str, str] = os.environ) -> Launcher:
        """Read what it has put into the environment of Triton."""
        folder = environment.get(RUNTIME_FOLDER)
        restarts = json.loads(environment.get(RESTARTS) or "{}")
        return Launcher(Path(folder) if folder else None, environment.get(PROBE_ID) or None, restarts)

    def is_probe(self, sequence_id: SequenceId) -> bool:
        """Whether a request is the launcher's own."""
        return self.probe_id is not None and sequence_id == self.probe_id

    def refuse_when_draining(self) -> None:
        """Raise ServerBusy when the server is about to stop."""
        if self.folder is not None and (self.folder / _DRAINING).exists():
            raise ServerBusy(
                "server is stopping: it takes nothing new; use another server, or try again later", STOPPING
            )

    def refuse_when_overloaded(self) -> None:
        """Raise ServerBusy when more requests wait in the server than it may hold."""
        waiting = self.overload()
        if waiting is not None:
            raise ServerBusy(
                f"server overloaded: {waiting} requests wait (max_pending_requests); try again later", OVERLOADED
            )

    def overload(self) -> str | None:
        """Return "waiting of allowed" while too many requests wait in the server, None otherwise."""
        if self.folder is None:
            return None
        try:
            return (self.folder / _OVERLOADED).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
