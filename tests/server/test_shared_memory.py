"""What a killed server leaves in /dev/shm is removed, and nothing of others."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from scripts.serving.shared_memory import region_prefix, remove_regions
from scripts.serving.staging import RepositorySettings
from tests.conftest import start_server

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108


def regions(prefix) -> set[str]:
    return {path.name for path in SHARED_MEMORY.glob(f"{prefix}*")}


def test_a_prefix_is_of_one_folder(tmp_path):
    assert region_prefix(tmp_path / "a") == region_prefix(tmp_path / "a") != region_prefix(tmp_path / "b")


def test_only_regions_of_the_prefix_go(tmp_path):
    mine, others = region_prefix(tmp_path / "mine"), region_prefix(tmp_path / "others")
    for name in (mine, others):
        (SHARED_MEMORY / f"{name}x").write_bytes(b"x")
    try:
        assert remove_regions(mine) == 1
        assert (regions(mine), regions(others)) == (set(), {f"{others}x"})
    finally:
        remove_regions(others)


def test_a_killed_server_leaves_no_shared_memory(tmp_path):
    prefix = region_prefix(tmp_path)
    server = start_server(tmp_path, RepositorySettings())
    with server:
        assert len(regions(prefix)) >= 7  # one a model
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        assert regions(prefix), "Triton cleans up by itself now: this is not needed any more"
    assert not regions(prefix)
