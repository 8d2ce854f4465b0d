"""A server of a script's own, for as long as the script needs it."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.serving.installation import TritonInstallation
from scripts.serving.server import TritonServer
from scripts.serving.server_options import ServerOptions
from scripts.serving.staging import RepositorySettings, stage_repository

DEFAULTS = RepositorySettings()


@contextmanager
def serve(
    model_repo: Path,
    settings: RepositorySettings = DEFAULTS,
    open_interfaces: frozenset[str] = frozenset(),
    start_timeout_secs: float = ServerOptions.start_timeout_secs,
    installation: TritonInstallation | None = None,
) -> Iterator[TritonServer]:
    """Serve a repository on free ports while the context lasts; SIGTERM to the script ends the server, too.

    Raises:
        RuntimeError: the server did not start.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        stage_repository(model_repo, Path(folder) / "model-repo", settings)
        options = ServerOptions(
            Path(folder) / "model-repo",
            Path(folder),
            open_interfaces=open_interfaces,
            start_timeout_secs=start_timeout_secs,
        )
        with TritonServer(options, installation) as server:
            yield server
