"""A graph run before the first request: the first run of a shape allocates memory, chooses kernels, captures graphs.

Triton's own `model_warmup` sends requests without a correlation ID, which no sequence model can take.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from common.input_checks import InputChecks
from common.parameters import ModelConfig
from onnx_sequence.caches import Array
from onnx_sequence.runner import Runner

_TYPES: dict[str, type[np.generic]] = {"TYPE_FP32": np.float32, "TYPE_INT32": np.int32, "TYPE_INT64": np.int64}


def usual_row(config: ModelConfig) -> dict[str, Array] | None:
    """Return one row of zeros for every input, in the shape that nearly all requests have.

    That is the window of a streaming encoder (`min_frames`), a frame of `decoder_joint`, and the longest run of frames
    of `decoder_greedy`, which the runners that prepare shapes fill shorter ones up to. None for a model of which nobody
    knows: the encoders of whole utterances, and those that take a varying number of windows.
    """
    checks = InputChecks.configured(config)
    frames = checks.min_frames or (1 if checks.labels is not None else 0)
    if checks.max_symbols is not None and checks.max_frames is not None:
        frames = checks.max_frames
    if not frames:
        return None
    return {
        item["name"]: np.zeros((1, *_sizes(item, frames)), _TYPES[item["data_type"]]) for item in config.raw["input"]
    }


def warm_up(runner: Runner, config: ModelConfig) -> None:
    """Let the runner prepare for the usual shape, if there is one."""
    row = usual_row(config)
    if row is not None:
        runner.prepare(row, config.max_batch_size, [item["name"] for item in config.raw["output"]])


def _sizes(item: dict[str, Any], frames: int) -> list[int]:
    return [frames if int(size) < 0 else int(size) for size in item["dims"]]
