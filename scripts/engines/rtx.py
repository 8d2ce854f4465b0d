"""Whether NVIDIA's ONNX parser and compiler take a graph: TensorRT-RTX, which needs neither a GPU nor a driver.

This is no TensorRT engine: what it builds runs on other GPUs only, and nothing is run here. It says that the graph
parses, is strongly typed, and compiles for the whole range of shapes.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from scripts.engines.commands import convert
from scripts.engines.shapes import Ranges

# Build errors and, of the warnings, the one that says that a profile's largest shapes cannot go together.
_REASON = re.compile(r"^\[[E!]\].*|.*not self-consistent.*", re.MULTILINE)
_INCONSISTENT = "not self-consistent"


def installed() -> bool:
    """Whether TensorRT-RTX and polygraphy are here; there are wheels for some versions of Python only."""
    return all(importlib.util.find_spec(name) for name in ("tensorrt_rtx", "polygraphy"))


@dataclass(frozen=True)
class Verdict:
    """What TensorRT-RTX said.

    Attributes:
        accepted: whether the graph was parsed and compiled, and the profile can hold.
        reason: its errors, with the node's name; empty when accepted.
        secs: how long it took.
        megabytes: size of what was compiled.
    """

    accepted: bool
    reason: str
    secs: float
    megabytes: float


def rtx_environment() -> dict[str, str]:
    """Return the environment in which polygraphy takes TensorRT-RTX for TensorRT."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": programs, "POLYGRAPHY_USE_TENSORRT_RTX": "1"}


def compile_graph(graph: Path, ranges: Ranges) -> Verdict:
    """Parse and compile a graph with its profile.

    `polygraphy convert` decides: `polygraphy inspect capability` exits 0 for what cannot be built, too.
    """
    with tempfile.TemporaryDirectory() as folder:
        engine = Path(folder) / "engine"
        command = convert(graph, engine, ranges)
        start = time.monotonic()
        run = subprocess.run(command, capture_output=True, text=True, env=rtx_environment(), check=False)
        secs = time.monotonic() - start
        output = run.stdout + run.stderr
        accepted = run.returncode == 0 and engine.exists() and _INCONSISTENT not in output
        reason = "" if accepted else "\n".join(_REASON.findall(output)) or output[-2000:]
        return Verdict(accepted, reason, secs, engine.stat().st_size / 1e6 if engine.exists() else 0.0)
