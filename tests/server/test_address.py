"""The file that tells commands where a server runs; no server is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.serving.address import Address
from scripts.serving.switching import RunningServer, SwitchError

ADDRESS = Address("127.0.0.1", "127.0.0.1:8001", 8000, "http://127.0.0.1:8002/metrics", "a secret")


def test_what_is_written_is_read_and_only_by_its_owner(tmp_path):
    ADDRESS.write(tmp_path)
    ADDRESS.write(tmp_path)  # of a server that was killed
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert Address.read(tmp_path) == ADDRESS
    assert RunningServer.find(tmp_path).metrics_url == ADDRESS.metrics_url
    Address.remove(tmp_path)
    Address.remove(tmp_path)
    with pytest.raises(SwitchError, match="no server runs from"):
        RunningServer.find(tmp_path)


def test_a_server_whose_models_may_not_change_says_so(tmp_path):
    replace(ADDRESS, admin_key=None).write(tmp_path)
    with pytest.raises(SwitchError, match="start it with AMIRA_MODEL_CONTROL=explicit"):
        RunningServer.find(tmp_path)
