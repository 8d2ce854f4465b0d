"""The graphs of a model repository in one precision, written beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from scripts.engines.calibration import encoder_batch_steps, encoder_steps, features_of_folder
from scripts.engines.fp8 import to_fp8
from scripts.engines.half import to_half
from scripts.engines.int8 import to_int8
from scripts.engines.precision import Precision
from scripts.export.description import ModelDescription
from scripts.export.graph_files import save_graph
from scripts.export.layout import Layout
from scripts.export.onnx_runner import Arrays

MODELS = ("encoder", "encoder_batch", "decoder_joint")


def variant_path(folder: Path, model: str, precision: Precision) -> Path:
    """Return where a variant lies: a folder per precision, a file per model."""
    return folder / precision.value / f"{model}.onnx"


def write_variants(layout: Layout, precision: Precision, folder: Path, recordings: Path) -> dict[str, Path]:
    """Write the three graphs in a precision.

    Args:
        layout: the repository with the FP32 graphs, which the export has simplified and folded.
        precision: of the encoders; `Precision.of` has that of decoder_joint.
        folder: where to write.
        recordings: folder of audio to calibrate INT8 and FP8 on.

    Returns:
        the files by model.

    Raises:
        FileNotFoundError: INT8 or FP8, and there are no recordings.
    """
    sources = {"encoder": layout.encoder, "encoder_batch": layout.encoder_batch, "decoder_joint": layout.decoder_joint}
    written = {}
    for model, source in sources.items():
        path = written[model] = variant_path(folder, model, precision)
        match precision.of(model):
            case Precision.FP32:
                save_graph(onnx.load(source), path)
            case Precision.FP16:
                save_graph(to_half(onnx.load(source)), path)
            case Precision.INT8:
                save_graph(to_int8(source, _steps(layout, model, recordings)), path)
            case Precision.FP8:
                save_graph(to_fp8(source, _steps(layout, model, recordings)), path)
    return written


def _steps(layout: Layout, model: str, recordings: Path) -> Iterator[Arrays]:
    description = ModelDescription.load(layout.description)
    features = features_of_folder(layout, description, recordings)
    return encoder_steps(layout, description, features) if model == "encoder" else encoder_batch_steps(features)
