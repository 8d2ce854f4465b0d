"""Engines from the command line; see docs/tensorrt.md.

python -m scripts.engines all [--image IMAGE] [--dry-run]   # variants here, engines in a Triton image or here
python -m scripts.engines variants                          # only the ONNX files of a precision
python -m scripts.engines graphs                            # the same, into the model repository, for AMIRA_PRECISION
python -m scripts.engines build                             # only the engines, where TensorRT and the GPU are
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.engines.builder import build_all
from scripts.engines.commands import build, in_image
from scripts.engines.engine_files import EngineFiles
from scripts.engines.precision import Precision
from scripts.engines.served_limits import served_limits
from scripts.engines.shapes import ranges
from scripts.engines.tensorrt_version import TensorRTError
from scripts.export.description import ModelDescription

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = Path("work/engines")
MODELS = ("encoder", "encoder_batch", "decoder_joint")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["all", "variants", "graphs", "build"])
    parser.add_argument("--precision", type=Precision, choices=list(Precision), default=Precision.FP16)
    parser.add_argument("--model-repo", type=Path, default=Path("model-repo"), help="relative to the project's root")
    parser.add_argument("--calibration", type=Path, default=Path("tests/data/audio"), help="recordings for INT8")
    parser.add_argument("--image", default="", help="Triton image to build in; empty builds on this machine")
    parser.add_argument("--dry-run", action="store_true", help="print the commands")
    arguments = parser.parse_args()
    try:
        if arguments.command in {"all", "variants", "graphs"}:
            _variants(arguments)
        if arguments.command == "graphs" and not arguments.dry_run:
            _add_to_repository(arguments.model_repo, arguments.precision)
        if arguments.command == "all" and arguments.image:
            command = in_image(arguments.image, ROOT, arguments.model_repo, arguments.precision)
            print(shlex.join(command), flush=True)
            if not arguments.dry_run:
                return subprocess.run(command, check=False).returncode
        if arguments.command in {"all", "build"}:
            _build(arguments)
    except (TensorRTError, FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _graphs(precision: Precision) -> dict[str, Path]:
    return {model: VARIANTS / precision.value / f"{model}.onnx" for model in MODELS}


def _add_to_repository(model_repo: Path, precision: Precision) -> None:
    """Copy the graphs beside those in FP32, and make `decoder_greedy` of the new `decoder_joint`."""
    graphs = _graphs(precision)
    name = f"model.{precision.value}.onnx"
    for model, graph in graphs.items():
        print(shutil.copyfile(graph, model_repo / model / "1" / name))
    greedy = model_repo / "decoder_greedy" / "1"
    if greedy.is_dir():  # a transducer with durations has none
        from scripts.export.greedy_graph import save_greedy_graph  # noqa: PLC0415

        save_greedy_graph(graphs["decoder_joint"], greedy / name)
        print(greedy / name)


def _variants(arguments: argparse.Namespace) -> None:
    options = ["--precision", arguments.precision.value, "--model-repo", str(arguments.model_repo)]
    command = ["python", "-m", "scripts.engines", "variants", *options, "--calibration", str(arguments.calibration)]
    print(shlex.join(command), flush=True)
    if not arguments.dry_run:
        # Not at the top: the image that builds engines has no onnx.
        from scripts.engines.variants import write_variants  # noqa: PLC0415
        from scripts.export.layout import Layout  # noqa: PLC0415

        write_variants(Layout(arguments.model_repo), arguments.precision, VARIANTS, arguments.calibration)


def _build(arguments: argparse.Namespace) -> None:
    description = ModelDescription.load(arguments.model_repo / "description.json")
    shapes = ranges(description, served_limits(arguments.model_repo))
    if arguments.dry_run:
        print("# where TensorRT is, with the name of its GPU and its version:")
        for model, graph in _graphs(arguments.precision).items():
            files = EngineFiles(arguments.model_repo / model, "GPU", "VERSION", arguments.precision)
            print(shlex.join(build(graph, files, shapes[model])))
        return
    for files in build_all(arguments.model_repo, _graphs(arguments.precision), shapes, arguments.precision):
        print(f"{files.served} -> {files.plan}: {files.checksum.read_text().split()[0]}")


if __name__ == "__main__":
    sys.exit(main())
