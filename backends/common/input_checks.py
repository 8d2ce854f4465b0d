"""Checks of the tensors between the steps. A client may call a step directly, with whatever it likes.

A graph that is given numbers out of range fails as a whole, with text about its nodes, and a tensor of hours keeps
everybody else waiting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from common.parameters import ModelConfig

_LENGTH = "_LENGTH"
_LABEL = "TARGET"
_SYMBOLS = "MAX_SYMBOLS"
# What a front end may add to the longest utterance, seconds.
_PADDING_SECS = 2.0


@dataclass(frozen=True)
class InputChecks:
    """What the inputs of a model may be.

    Attributes:
        axes: which axis of an input, the batch one included, may vary, by name.
        min_frames: least size of it.
        max_frames: most; None for no limit.
        labels: number of labels, the blank included; None where there are none.
        max_symbols: largest limit of labels on a frame; None where it is no input.
    """

    axes: Mapping[str, int]
    min_frames: int = 0
    max_frames: int | None = None
    labels: int | None = None
    max_symbols: int | None = None

    @staticmethod
    def configured(config: ModelConfig) -> InputChecks:
        """Read `min_frames`, `max_frames` or `max_audio_secs` and `frame_secs`, `labels`, and `max_symbols`.

        All may be missing, as in repositories that were exported before there were limits. Raises ValueError.
        """
        axes = {}
        for item in config.raw["input"]:
            sizes = [int(size) for size in item["dims"]]
            if -1 in sizes:
                axes[item["name"]] = 1 + sizes.index(-1)
        max_frames: int | None = None
        if config.optional_text("max_frames"):
            max_frames = config.integer("max_frames", 1)
        elif config.optional_text("max_audio_secs"):
            secs = config.number("max_audio_secs") + _PADDING_SECS
            max_frames = math.ceil(secs / config.number("frame_secs", 1e-3))
        return InputChecks(
            axes,
            min_frames=config.integer("min_frames") if config.optional_text("min_frames") else 0,
            max_frames=max_frames,
            labels=config.integer("labels", 1) if config.optional_text("labels") else None,
            max_symbols=config.optional_integer("max_symbols", 1),
        )

    def check(self, inputs: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raise ValueError for the first input, of those by name, that is out of range."""
        for name, axis in self.axes.items():
            frames = inputs[name].shape[axis]
            if frames < self.min_frames or (self.max_frames is not None and frames > self.max_frames):
                most = "" if self.max_frames is None else f" to {self.max_frames}"
                raise ValueError(f"{name} has {frames} frames; allowed: {self.min_frames}{most}")
            if name + _LENGTH in inputs:
                _check_range(name + _LENGTH, inputs[name + _LENGTH], frames)
        if self.labels is not None and _LABEL in inputs:
            _check_range(_LABEL, inputs[_LABEL], self.labels - 1)
        if self.max_symbols is not None and _SYMBOLS in inputs:
            _check_range(_SYMBOLS, inputs[_SYMBOLS], self.max_symbols, least=1)


def _check_range(name: str, values: npt.NDArray[Any], most: int, least: int = 0) -> None:
    wrong = values[(values < least) | (values > most)]
    if wrong.size:
        raise ValueError(f"{name} is {np.ravel(wrong)[0]}; allowed: {least} to {most}")
