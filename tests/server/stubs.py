"""Backend processes of a running server, for tests that break them."""

from __future__ import annotations

import psutil

from scripts.serving.stubs import model_of


def stub_of(pid: int, model: str) -> psutil.Process:
    """The living process of a model's only instance, below the server or its launcher."""
    living = [p for p in psutil.Process(pid).children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    [stub] = [process for process in living if model_of(process) == model]
    return stub
