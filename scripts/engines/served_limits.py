"""The limits that a model repository is served with, for the shapes of its engines."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.export.serving_options import ServingOptions


def served_limits(model_repo: Path) -> ServingOptions:
    """Read the largest batches and the longest utterance from the configurations.

    As text: the image that builds engines has neither protobuf nor Triton's client.

    Raises:
        FileNotFoundError: a configuration is missing.
        ValueError: a number is not in it.
    """
    return ServingOptions(
        max_batch_size=_number(model_repo, "encoder", r"^max_batch_size: (\d+)"),
        batch_max_batch_size=_number(model_repo, "encoder_batch", r"^max_batch_size: (\d+)"),
        joint_max_batch_size=_number(model_repo, "decoder_joint", r"^max_batch_size: (\d+)"),
        max_audio_secs=_number(
            model_repo, "encoder_batch", r'key: "max_audio_secs"\s+value \{\s+string_value: "(\d+)(?:\.0*)?"'
        ),
    )


def _number(model_repo: Path, model: str, pattern: str) -> int:
    path = model_repo / model / "config.pbtxt"
    match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise ValueError(f"{path}: there is no number like {pattern!r}")
    return int(match[1])
