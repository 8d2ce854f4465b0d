"""Programs that the tests run where they are installed."""

from __future__ import annotations

import shutil

import pytest

from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
FILES = DEPLOY / "observability"


def program(name, package):
    """Path of an installed program; the test is skipped where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {package})")
    return path
