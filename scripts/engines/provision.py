"""A model repository with engines for this machine's GPU, taken from a cache where it has them, built where not.

`python -m scripts.engines.provision --target /models --cache /engines` is what an init container runs before the server
starts (docs/kubernetes.md). Several may fill one cache at once.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from scripts.engines.builder import build_engine, gpu_name
from scripts.engines.engine_files import EngineFiles
from scripts.engines.precision import Precision
from scripts.engines.served_limits import served_limits
from scripts.engines.shapes import ranges
from scripts.engines.tensorrt_version import TensorRTError, matching_version
from scripts.export.description import ModelDescription

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("encoder", "encoder_batch", "decoder_joint")


class EngineCache:
    """Engines by what they were built from, for what, and by whom; a folder that machines share."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which must exist."""
        self._folder = folder

    def fetch(self, files: EngineFiles, key: str) -> bool:
        """Copy an engine into its repository and let Triton load it.

        Returns:
            Whether the cache has it. A file whose checksum is wrong counts as missing.
        """
        kept = self._folder / key / files.model.name
        plan, checksum = kept / files.plan.name, kept / files.checksum.name
        if not plan.exists() or not checksum.exists():
            return False
        files.plan.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(plan, files.plan)
        if files.seal() != checksum.read_text(encoding="utf-8").split()[0]:
            files.plan.unlink()
            return False
        files.serve()
        return True

    def keep(self, files: EngineFiles, key: str) -> None:
        """Put an engine, its checksum, log and timings into the cache; the checksum last, since it is what counts."""
        kept = self._folder / key / files.model.name
        kept.mkdir(parents=True, exist_ok=True)
        for file in (files.timing_cache, files.log, files.plan, files.checksum):
            if file.exists():
                _copy_at_once(file, kept / file.name)


def graph_key(source: Path, precision: Precision) -> str:
    """Return what an engine depends on besides GPU and TensorRT: graphs, limits of the shapes, precision."""
    digest = hashlib.sha256(f"{precision.value} {served_limits(source)}".encode())
    graphs = [source / model / "1" / name for model in MODELS for name in ("model.onnx", "model.onnx.data")]
    for path in [source / "description.json", *(path for path in graphs if path.exists())]:
        with path.open("rb") as file:
            while piece := file.read(1 << 24):
                digest.update(piece)
    return digest.hexdigest()[:16]


def provision(source: Path, target: Path, cache: Path | None, precision: Precision, recordings: Path) -> None:
    """Copy the repository at `source` to `target`, with the engines that the profile `tensorrt` loads.

    Args:
        source: a model repository with ONNX graphs.
        target: an empty or missing folder, or one that an earlier run filled.
        cache: where engines are looked for and kept; None builds always.
        precision: of the engines.
        recordings: folder of audio to calibrate INT8 on.

    Raises:
        TensorRTError: there is no GPU, no TensorRT, or a build failed.
        FileNotFoundError: `source` lacks a file, `cache` does not exist, or INT8 and there are no recordings.
    """
    if cache is not None and not cache.is_dir():
        raise FileNotFoundError(f"the cache {cache} is not a folder")
    key = graph_key(source, precision)
    tensorrt, gpu = matching_version(), gpu_name()
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("engines", "*.plan"))
    engines = {model: EngineFiles(target / model, gpu, tensorrt, precision) for model in MODELS}
    kept = EngineCache(cache) if cache else None
    missing = [model for model, files in engines.items() if kept is None or not kept.fetch(files, key)]
    print(f"{gpu}, TensorRT {tensorrt}, {precision.value}, graphs {key}: building {missing or 'nothing'}", flush=True)
    if not missing:
        return
    with tempfile.TemporaryDirectory() as folder:
        graphs = _variants(target, precision, Path(folder), recordings)
        shapes = ranges(ModelDescription.load(target / "description.json"), served_limits(target))
        for model in missing:
            build_engine(graphs[model], engines[model], shapes[model])
            if kept is not None:
                kept.keep(engines[model], key)


def _variants(repository: Path, precision: Precision, folder: Path, recordings: Path) -> dict[str, Path]:
    # Not at the top: a cache that has everything needs no onnx.
    from scripts.engines.variants import write_variants  # noqa: PLC0415
    from scripts.export.layout import Layout  # noqa: PLC0415

    return write_variants(Layout(repository), precision, folder, recordings)


def _copy_at_once(source: Path, target: Path) -> None:
    """Copy so that nobody sees half a file."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.{os.uname().nodename}.partial")
    shutil.copyfile(source, partial)
    partial.replace(target)


def main(arguments: Iterable[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo", help="repository with ONNX graphs")
    parser.add_argument("--target", type=Path, required=True, help="folder for the repository with engines")
    parser.add_argument("--cache", type=Path, help="folder with engines that were built before")
    parser.add_argument("--precision", type=Precision, choices=list(Precision), default=Precision.FP16)
    parser.add_argument("--calibration", type=Path, default=ROOT / "tests/data/audio", help="recordings for INT8")
    given = parser.parse_args(None if arguments is None else list(arguments))
    try:
        provision(given.model_repo, given.target, given.cache, given.precision, given.calibration)
    except (TensorRTError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
