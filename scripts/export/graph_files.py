"""Graphs in files. Protobuf holds less than 2 GB: the weights of a larger graph lie beside it, in one file."""

from __future__ import annotations

from pathlib import Path

import onnx

# Protobuf's limit is 2^31 - 1 bytes, the nodes included.
LARGEST_FILE = 2_000_000_000


def save_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph; `path` + `.data` has its weights when they are too many for one file. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = weights_path(path)
    weights.unlink(missing_ok=True)  # onnx would append
    if is_large(model):
        onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=weights.name)
        weights.chmod(path.stat().st_mode)  # onnx lets nobody else read it, and servers run as others
    else:
        onnx.save(model, path)


def is_large(model: onnx.ModelProto) -> bool:
    """Whether one file cannot hold a graph."""
    return sum(len(item.raw_data) for item in model.graph.initializer) > LARGEST_FILE


def weights_path(path: Path) -> Path:
    """Return where the weights of a large graph are."""
    return path.with_name(f"{path.name}.data")


def files_of(path: Path) -> list[Path]:
    """Return the files of a graph."""
    return [item for item in (path, weights_path(path)) if item.exists()]
