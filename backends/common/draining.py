"""Refusing what is new when this server is about to stop.

The launcher says so through a file, since Triton tells backends nothing.

Triton's own graceful exit breaks ensembles: a request in flight fails at its next step ("scheduler for model has
stopped accepting new inference requests"). So the launcher drains first: it makes the file, the first step of each
pipeline refuses what is new, and only when nothing is left does Triton get its signal.
"""

from __future__ import annotations

import os
from pathlib import Path

from common.sequences import SequenceError

_DRAIN_FILE_VARIABLE = "AMIRA_DRAIN_FILE"


def refuse_when_draining() -> None:
    """Raise SequenceError when the launcher has asked for it. Where there is no launcher, nothing is refused."""
    path = os.environ.get(_DRAIN_FILE_VARIABLE)
    if path is not None and Path(path).exists():
        raise SequenceError("server is stopping: it takes nothing new; use another server, or try again later")
