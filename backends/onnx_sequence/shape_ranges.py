"""Least, usual and largest shape of each input of a graph, from its configuration: what TensorRT wants to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.input_checks import InputChecks
from common.parameters import ModelConfig
from onnx_sequence.caches import StateTensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ShapeRange:
    """Shapes of one input, batch first.

    Attributes:
        least: the smallest that may come.
        usual: the one to be fast at.
        largest: the largest that may come.
    """

    least: Shape
    usual: Shape
    largest: Shape


def shape_ranges(config: ModelConfig, states: Sequence[StateTensor]) -> dict[str, ShapeRange]:
    """Return the shapes of every input and state of a model.

    As `scripts/engines/shapes.py` has them: batches of 1, a quarter of the largest, and the largest; windows of the
    streaming encoder, and otherwise up to the longest input that is accepted, tuned for a third of it.

    Raises:
        ValueError: an input may have any length; TensorRT needs a largest.
    """
    checks = InputChecks.configured(config)
    if checks.axes and checks.max_frames is None:
        raise ValueError(
            f"model {config.model_name!r}: {', '.join(checks.axes)} may have any length, and TensorRT needs a largest; "
            "its configuration needs max_frames"
        )
    longest = checks.max_frames or 1
    usual = checks.min_frames or max(1, longest // 3)
    ranges = {}
    for item in config.raw["input"]:
        sizes = [int(size) for size in item["dims"]]
        ranges[item["name"]] = _batched(config, *(_with(sizes, n) for n in (checks.min_frames or 1, usual, longest)))
    for state in states:
        ranges[state.input_name] = _batched(config, state.shape, state.shape, state.shape)
    return ranges


def _with(sizes: Sequence[int], frames: int) -> Shape:
    return tuple(frames if size < 0 else size for size in sizes)


def _batched(config: ModelConfig, least: Shape, usual: Shape, largest: Shape) -> ShapeRange:
    most = max(1, config.max_batch_size)
    return ShapeRange((1, *least), (max(1, most // 4), *usual), (most, *largest))
