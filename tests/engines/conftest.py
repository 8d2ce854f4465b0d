"""Precision variants of the shipped graphs, made once for all tests of a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.engines.calibration import features_of_folder
from scripts.engines.precision import Precision
from scripts.engines.variants import write_variants
from scripts.export.description import ModelDescription
from scripts.export.layout import Layout

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = Layout(ROOT / "model-repo")
CLIPS = ROOT / "tests" / "data" / "audio"


@pytest.fixture(scope="session")
def description():
    return ModelDescription.load(LAYOUT.description)


@pytest.fixture(scope="session")
def recordings(description):
    """Features of the bundled clips, [n_mels, frames] each."""
    return features_of_folder(LAYOUT, description, CLIPS)


@pytest.fixture(scope="session")
def variants(tmp_path_factory):
    """Paths by precision and model."""
    folder = tmp_path_factory.mktemp("variants")
    return {precision: write_variants(LAYOUT, precision, folder, CLIPS) for precision in Precision}
