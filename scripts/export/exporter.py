"""The whole export: read, refuse or write, verify."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nemo.collections.asr.models import ASRModel

from scripts.export.artifacts import save_mel, save_tokenizer, save_vocabulary
from scripts.export.description import ModelDescription
from scripts.export.graphs import export_graphs
from scripts.export.layout import Layout
from scripts.export.reading import describe, load_checkpoint, select_att_context
from scripts.export.serving_options import ServingOptions
from scripts.export.verify import Differences, verify


def export_checkpoint(
    checkpoint: Path, layout: Layout, options: ServingOptions, att_context: Sequence[int] | None = None
) -> tuple[ModelDescription, Differences]:
    """Turn a .nemo file into a model repository.

    Args:
        checkpoint: the .nemo file.
        layout: where to write; files of an earlier export are replaced.
        options: limits of the servers.
        att_context: left and right attention context, encoder frames; None for the first trained one.

    Returns:
        what was read, and how far the graphs are from NeMo.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        UnsupportedModelError: it cannot be served.
        ArithmeticError: an exported graph does not compute what NeMo computes.
    """
    model = load_checkpoint(checkpoint)
    description = export_model(model, checkpoint, layout, options, att_context)
    return description, verify(model, description, layout)


def export_model(
    model: ASRModel,
    checkpoint: Path,
    layout: Layout,
    options: ServingOptions,
    att_context: Sequence[int] | None = None,
) -> ModelDescription:
    """Write a loaded model; as `export_checkpoint`, without the verification."""
    select_att_context(model, att_context)
    description = describe(model, checkpoint)
    layout.write_configs(description, options)
    for path in layout.mels:
        save_mel(model, path)
    for path in layout.vocabularies:
        save_vocabulary(model, path)
    for path in layout.tokenizers:
        save_tokenizer(model, path)
    export_graphs(model, description, layout)
    layout.copy_vad()
    return description
