"""The command lines that build engines: polygraphy for one engine, Docker for all of them in the image that serves."""

from __future__ import annotations

import shlex
from pathlib import Path

from scripts.engines.engine_files import EngineFiles
from scripts.engines.precision import Precision
from scripts.engines.shapes import Ranges

POLYGRAPHY = "polygraphy==0.53.6"


def shape_options(ranges: Ranges) -> list[str]:
    """Return polygraphy's options for one optimisation profile."""
    options = []
    for option, attribute in (("min", "least"), ("opt", "usual"), ("max", "largest")):
        shapes = (f"{name}:{list(getattr(shape, attribute))}".replace(" ", "") for name, shape in ranges.items())
        options += [f"--trt-{option}-shapes", *shapes]
    return options


def convert(graph: Path, engine: Path, ranges: Ranges, *options: str) -> list[str]:
    """Return the command that parses a graph and builds a strongly typed engine: precision comes from the graph."""
    command = ["polygraphy", "convert", str(graph), "--convert-to", "trt", "--output", str(engine)]
    return [*command, "--strongly-typed", "--tf32", *shape_options(ranges), *options]


def build(graph: Path, files: EngineFiles, ranges: Ranges) -> list[str]:
    """Return the command that builds an engine for serving: timings of earlier builds are used and kept."""
    cache = str(files.timing_cache)
    return convert(graph, files.plan, ranges, "--load-timing-cache", cache, "--save-timing-cache", cache)


def in_image(image: str, root: Path, model_repo: Path, precision: Precision) -> list[str]:
    """Return the command that builds all engines in a Triton image, on the first GPU.

    The image has TensorRT's libraries, those that its backend serves with, but not their Python bindings. Installed are
    bindings of exactly that version, without libraries: so the builder is the server's own TensorRT.
    """
    building = f"python3 -m scripts.engines build --precision {precision.value} --model-repo"
    inside = [
        "set -e",
        "version=$(python3 -m scripts.engines.tensorrt_version)",
        f'pip install -q --no-deps "tensorrt-cu${{CUDA_VERSION%%.*}}-bindings==$version.*" {POLYGRAPHY} "numpy<2"',
        f"{building} {shlex.quote(str(model_repo))}",
    ]
    # Newer images ask before pip may install beside the packages of the system.
    options = ["--rm", "--gpus", "all", "--user", "root", "--env", "PIP_BREAK_SYSTEM_PACKAGES=1"]
    options += ["--workdir", "/amira", "--volume", f"{root}:/amira", "--entrypoint", "bash"]
    return ["docker", "run", *options, image, "-c", "\n".join(inside)]
