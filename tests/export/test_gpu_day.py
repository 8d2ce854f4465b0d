"""The command for a GPU, on a processor: every part writes its file, says what it cannot run, and goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch lives in the environment of NeMo: make test-nemo")

import torch

from onnx_sequence.caches import Array
from scripts.bench_gpu import TINY, cells
from scripts.bench_gpu import measure as measure_step
from scripts.gpu import served, steps
from scripts.gpu.cell_file import CellFile
from scripts.gpu.command import cell_or_reason
from scripts.tables import gpu

ROOT = Path(__file__).resolve().parents[2]


def test_the_served_encoder_is_measured_and_what_cannot_be_run_is_named(tmp_path: Path) -> None:
    encoder = served.Encoder(ROOT / "model-repo")
    for execution in ("torch:cpu", "onnxruntime:cpu"):
        figures = served.measure(encoder, execution, "fp32", (1, 2))
        assert 0 <= figures["largest_error"] < 1e-5
        assert set(figures["steps"]) == {1, 2}
        assert all(step["ms_p99"] >= step["ms"] > 0 for step in figures["steps"].values())
    cell = cell_or_reason("cpu", lambda: served.measure(encoder, "torch:cpu", "fp8", (1,)))
    assert "which is missing" in cell["not_run"]


def test_the_error_is_that_of_the_worst_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = served.Encoder(ROOT / "model-repo")
    runner = encoder.runner("onnxruntime:cpu", "fp32", 8)
    advance = runner.advance

    def one_is_off(inputs: dict[str, Array], slots: list[int], names: list[str]) -> dict[str, Array]:
        outputs = {name: array.copy() for name, array in advance(inputs, slots, names).items()}
        outputs["ENCODED"][-1] *= 1.5
        return outputs

    monkeypatch.setattr(runner, "advance", one_is_off)
    assert served.largest_error(encoder, runner) == pytest.approx(0.5, rel=1e-3)


def test_features_and_search_are_measured_and_compared_with_those_of_the_processor(tmp_path: Path) -> None:
    measured = steps.Steps(ROOT / "model-repo")
    for execution, largest in (("torch:cpu", 2e-3), ("cpu", 0.0)):
        figures = steps.measure(measured, f"features {execution}", (1, 3))
        assert figures["largest_error"] <= largest
        assert all(cell["ms_p99"] >= cell["ms"] > 0 for cell in figures["batches"].values())
    for execution in ("torch:cpu", "onnxruntime:cpu"):
        figures = steps.measure(measured, f"search {execution} fp32", (1, 3))
        for cell in figures["batches"].values():
            assert cell["labels_equal"] == 1.0
            assert cell["rounds"] > 1
            assert 0 < cell["share"] < 1
    for cell, reason in (
        ("search torch:cpu fp8", "which is missing"),
        ("features torch:cuda:99", "execution"),
        ("search onnxruntime:tensorrt fp32", "execution"),
    ):
        assert reason in cell_or_reason("cpu", partial(steps.measure, measured, cell, (1,)))["not_run"]


def test_figures_become_tables_and_those_of_a_processor_none() -> None:
    encoder, measured = served.Encoder(ROOT / "model-repo"), steps.Steps(ROOT / "model-repo")
    sizes = TINY["tiny"]
    some = [cell for cell in cells(TINY, (1, 2), graphs=False) if cell.chunk_frames == 4]
    trial = {"p50_ms": 20.0, "p95_ms": 30.0, "p99_ms": 40.0, "server_cores": 1.5, "server_gigabytes": 2.0}
    trials = [{"streams": 16, "kept_up": True, **trial}, {"streams": 64, "kept_up": False, **trial}]
    in_gpu = {"device_gigabytes": 3.5}
    failed = [*trials[:1], {"streams": 64, "kept_up": False, "failed": "no answer"}]
    made: dict[str, tuple[Callable[[dict[str, Any]], str], dict[str, Any], str]] = {
        "served": (gpu.served, {"torch:cpu fp32": served.measure(encoder, "torch:cpu", "fp32", (1, 2))}, "batch 2"),
        "steps": (
            gpu.steps,
            {key: steps.measure(measured, key, (1, 2)) for key in ("features cpu", "search torch:cpu fp32")},
            "100.00%",
        ),
        "pipeline": (
            gpu.pipeline,
            {"a": in_gpu | {"trials": trials}, "b": in_gpu | {"trials": failed}},
            "| b | 16 | 20 / 30",
        ),
        "encoders": (
            gpu.encoders,
            {cell.key: measure_step(cell, sizes, torch.device("cpu")) for cell in some},
            "| tiny, 320 ms | float32, eager |",
        ),
    }
    for table, figures, part in made.values():
        without_numbers = json.loads(json.dumps({**figures, "c": {"not_run": "no such thing"}}))
        text = table({"device": "NVIDIA L4", "cells": without_numbers})
        assert text.startswith("NVIDIA L4:")
        assert part in text
        assert text.endswith("Not run: c: no such thing")
        with pytest.raises(ValueError, match="these figures are of a processor"):
            table({"device": "cpu", "cells": without_numbers})


def test_what_could_not_be_run_is_tried_again_last_and_named(tmp_path: Path) -> None:
    figures = CellFile(tmp_path / "steps.json", "cpu")
    for key in ("a", "b", "c"):
        figures.put(key, {"not_run": "no such thing"} if key == "a" else {"ms": 1.0})
    tried: list[str] = []

    def measure(key: str) -> dict[str, object]:
        tried.append(key)
        return {"ms": 2.0}

    assert figures.complete(["a", "b", "c", "d"], measure, minutes=1) == 0
    assert tried == ["d", "a"]


def test_a_part_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    out = tmp_path / "figures"
    CellFile(out / "served.json", "another device").put("torch:cpu fp32", {"largest_error": 0.0})
    command = [sys.executable, "-m", "scripts.gpu.day", "--out", str(out), "--device", "cpu", "--tiny"]
    parts = ["--parts", "scripts.gpu.served", "scripts.bench_gpu", "--minutes", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backends")])}
    run = subprocess.run([*command, *parts], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "has figures of another device; this is cpu" in run.stderr
    assert "scripts.gpu.served: failed with status 1" in run.stdout
    assert "scripts.bench_gpu: call again to go on" in run.stdout
    assert json.loads((out / "served.json").read_text())["device"] == "another device"
