"""The systemd unit: what systemd says about it. No service is started: that needs systemd as the first process."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from amira_asr.settings import Settings
from tests.conftest import ROOT

UNIT = ROOT / "deploy" / "systemd" / "amira-asr.service"


@pytest.fixture
def unit(tmp_path):
    """The unit with a Python that is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (Debian: apt install systemd)")
    file = tmp_path / UNIT.name
    file.write_text(UNIT.read_text().replace("/opt/amira-asr/.venv/bin/python", sys.executable))
    return file


def test_systemd_understands_every_line(unit):
    result = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_it_is_exposed_little(unit):
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-200:]


def test_stopping_waits_longer_than_draining():
    seconds = int(re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)[1])
    assert seconds > Settings.model_fields["shutdown_timeout_secs"].default + 20
