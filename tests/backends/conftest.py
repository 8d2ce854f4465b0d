"""A GPU for the tests that need one: that of the machine, or a simulated one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def gpu() -> Iterator[None]:
    """Let torch have a GPU."""
    torch = pytest.importorskip("torch", reason="torch is not installed here: make test-nemo")
    if torch.cuda.is_available():
        yield
        return
    from tests.backends.simulated_gpu import simulated_gpu  # noqa: PLC0415  imports torch

    with simulated_gpu():
        yield
