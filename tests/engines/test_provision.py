"""Engines of an init container: built once, fetched by the next, never served half written or for other graphs.

A stand-in for polygraphy writes its arguments into the engine, as in test_build.py.
"""

from __future__ import annotations

import shutil

import pytest

from scripts.engines.provision import MODELS, main
from tests.engines.conftest import ROOT
from tests.engines.test_build import STAND_IN, programs  # noqa: F401  a fixture

REPOSITORY = ROOT / "model-repo"
PLAN = "nvidia-l4_tensorrt-10.5.0_fp32.plan"


@pytest.fixture
def machine(tmp_path, programs, monkeypatch):  # noqa: F811
    """A function that provisions `tmp_path/<name>`, and returns the exit status."""
    monkeypatch.setattr("scripts.engines.provision.matching_version", lambda: "10.5.0")
    programs("nvidia-smi", "#!/bin/sh\necho NVIDIA L4\n")
    programs("polygraphy", STAND_IN)
    (tmp_path / "cache").mkdir()

    def run(name, *options):
        return main(["--target", str(tmp_path / name), "--precision", "fp32", *options])

    return run


def logs(repository):
    return [file for model in MODELS for file in (repository / model / "engines").glob("*.log")]


def test_the_first_builds_and_the_next_fetches(tmp_path, machine):
    cache = ["--cache", str(tmp_path / "cache")]
    assert machine("first", *cache) == 0
    assert machine("second", *cache) == 0
    assert len(logs(tmp_path / "first")) == 3
    assert not logs(tmp_path / "second")
    for model in MODELS:
        served = tmp_path / "second" / model / "1" / "model.plan"
        assert served.resolve() == tmp_path / "second" / model / "engines" / PLAN
        assert served.read_bytes() == (tmp_path / "first" / model / "1" / "model.plan").read_bytes()
    assert (tmp_path / "second" / "decoder" / "config.pbtxt").exists()
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_a_damaged_engine_is_built_again(tmp_path, machine):
    cache = ["--cache", str(tmp_path / "cache")]
    assert machine("first", *cache) == 0
    damaged = next((tmp_path / "cache").rglob(f"encoder/{PLAN}"))
    damaged.write_text("half an engine")
    assert machine("second", *cache) == 0
    assert [file.parents[1].name for file in logs(tmp_path / "second")] == ["encoder"]
    assert damaged.read_text() == "engine\n"


def test_engines_of_other_graphs_are_not_taken(tmp_path, machine):
    cache = ["--cache", str(tmp_path / "cache")]
    assert machine("first", *cache) == 0
    other = shutil.copytree(REPOSITORY, tmp_path / "other")
    with (other / "description.json").open("a") as description:
        description.write(" ")
    assert machine("second", *cache, "--model-repo", str(other)) == 0
    assert len(logs(tmp_path / "second")) == 3


def test_an_interrupted_run_is_taken_up_again(tmp_path, machine, programs):  # noqa: F811
    programs("polygraphy", "#!/bin/sh\nexit 3\n")
    assert machine("models", "--cache", str(tmp_path / "cache")) == 1
    assert not list((tmp_path / "cache").rglob("*.plan"))
    programs("polygraphy", STAND_IN)
    assert machine("models", "--cache", str(tmp_path / "cache")) == 0


def test_a_cache_that_is_not_there_is_told(tmp_path, machine, capsys):
    assert machine("models", "--cache", str(tmp_path / "nothing")) == 1
    assert "nothing is not a folder" in capsys.readouterr().err


def test_without_a_gpu_nothing_is_copied(tmp_path, machine, programs, capsys):  # noqa: F811
    programs("nvidia-smi", "#!/bin/sh\nexit 9\n")
    assert machine("models") == 1
    assert "no NVIDIA GPU answers here" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
