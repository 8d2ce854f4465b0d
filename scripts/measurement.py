"""Figures written with what is needed to trust them: command, versions, CPU, date, revision."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_PACKAGES = (
    "nvidia-pytriton",
    "tritonclient",
    "onnxruntime",
    "onnxruntime-gpu",
    "numpy",
    "torch",
    "nemo_toolkit",
    "sherpa-onnx",
)


def cpu_name() -> str:
    """Return the processor's name as the kernel gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _revision() -> str:
    """Return the git revision; where the code was copied without its history, `GIT_COMMIT` says it, or nothing does."""
    if "GIT_COMMIT" in os.environ or not shutil.which("git"):
        return os.environ.get("GIT_COMMIT", "unknown")
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return git.stdout.strip() or "unknown"


def circumstances() -> dict[str, Any]:
    """Return the command, versions, CPU, date and git revision of this run."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"python -m {module.name.removesuffix('.__main__')}" if module else Path(sys.argv[0]).name
    return {
        "command": " ".join([program, *map(shlex.quote, sys.argv[1:])]),
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "revision": _revision(),
        "python": platform.python_version(),
        "versions": versions,
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
    }


def write_measurement(path: Path, figures: dict[str, Any]) -> None:
    """Write figures and circumstances as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"measured": circumstances(), **figures}, indent=2, ensure_ascii=False) + "\n")
    print(f"figures written to {path}")
