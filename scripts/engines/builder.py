"""Builds the engines of a repository on this machine's GPU."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from scripts.engines.commands import build
from scripts.engines.engine_files import EngineFiles
from scripts.engines.precision import Precision
from scripts.engines.shapes import Ranges
from scripts.engines.tensorrt_version import TensorRTError, matching_version


def gpu_name() -> str:
    """Return the name of the first GPU. Raises TensorRTError when there is none: engines are tuned on it."""
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError) as error:
        raise TensorRTError(
            f"no NVIDIA GPU answers here ({error}): engines are built on the GPU that serves"
        ) from error
    return names[0].strip()


def build_engine(graph: Path, files: EngineFiles, ranges: Ranges) -> None:
    """Build one engine, with its log, and checksum, and let Triton load it.

    Raises:
        TensorRTError: the build failed; an engine that was served before is served still.
    """
    files.plan.parent.mkdir(parents=True, exist_ok=True)
    command = build(graph, files, ranges)
    files.log.write_text(shlex.join(command) + "\n", encoding="utf-8")
    with files.log.open("a", encoding="utf-8") as log:
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if status != 0 or not files.plan.exists():
        raise TensorRTError(f"{graph.name}: the build failed with status {status}; its output is in {files.log}")
    files.seal()
    files.serve()


def build_all(
    model_repo: Path, graphs: Mapping[str, Path], ranges: Mapping[str, Ranges], precision: Precision
) -> list[EngineFiles]:
    """Build the engine of every graph, by model.

    Raises:
        TensorRTError: as `build_engine`, at the first that fails; before the first, when TensorRT's parts do not belong
            together or there is no GPU.
    """
    tensorrt, gpu = matching_version(), gpu_name()
    built = []
    for model, graph in graphs.items():
        files = EngineFiles(model_repo / model, gpu, tensorrt, precision)
        print(f"building {files.plan}", flush=True)
        build_engine(graph, files, ranges[model])
        built.append(files)
    return built
