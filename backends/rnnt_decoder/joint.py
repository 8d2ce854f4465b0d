"""What the searches ask of the prediction network and the joint, wherever these run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
# Told of the rows of each call of a joint, and its seconds.
RecordCall = Callable[[int, float], None]


@dataclass(frozen=True)
class JointOutput:
    """The best label of each frame of a run of frames.

    Attributes:
        labels: most probable label, blank included, [batch, frames] int32.
        log_probs: its natural-log probability, [batch, frames] float32.
        confidences: confidence in it, see `confidence.py`, [batch, frames] float32.
        durations: encoder frames to advance (TDT), [batch, frames] int32; None for a plain transducer.
        state_h: LSTM hidden state after the target, [batch, layers, hidden] float32.
        state_c: LSTM cell state after the target, [batch, layers, hidden] float32.
    """

    labels: Int32
    log_probs: Float32
    confidences: Float32
    durations: Int32 | None
    state_h: Float32
    state_c: Float32


@dataclass(frozen=True)
class JointDistributions:
    """The distribution over all labels in each frame of a run of frames.

    Attributes:
        log_probs: natural-log probabilities, blank last, [batch, frames, labels] float32.
        durations: as in `JointOutput`.
        state_h: as in `JointOutput`.
        state_c: as in `JointOutput`.
    """

    log_probs: Float32
    durations: Int32 | None
    state_h: Float32
    state_c: Float32


@dataclass(frozen=True)
class Prediction:
    """Where the prediction network stands in each row.

    Attributes:
        targets: label that it reads next, [batch, 1] int32.
        state_h: LSTM hidden state before it, [batch, layers, hidden] float32.
        state_c: LSTM cell state before it, [batch, layers, hidden] float32.
    """

    targets: Int32
    state_h: Float32
    state_c: Float32


@dataclass(frozen=True)
class FoundLabels:
    """What the greedy search of a run of frames found, one row each; the blank where a row has no more labels.

    Attributes:
        labels: [batch, most labels] int32.
        frames: frame of each, counted from the start of the run, [batch, most labels] int64.
        log_probs: natural-log probability of each, [batch, most labels] float32.
        confidences: confidence in each, see `confidence.py`, [batch, most labels] float32.
        state_h: LSTM hidden state before the last label, [batch, layers, hidden] float32.
        state_c: LSTM cell state before the last label, [batch, layers, hidden] float32.
    """

    labels: Int32
    frames: Int64
    log_probs: Float32
    confidences: Float32
    state_h: Float32
    state_c: Float32


class Joint(Protocol):
    """Prediction network and joint for [batch, frames, dim] encoder frames after the labels [batch, 1]."""

    def can_search(self, rows: int) -> bool:
        """Whether there is a `search`, and it is the cheaper way for so many rows."""

    def best(self, encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32) -> JointOutput:
        """Return the best label of every frame."""

    def distributions(self, encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32) -> JointDistributions:
        """Return every label's probability in every frame."""

    def search(self, encoded: Float32, lengths: Int64, before: Prediction, max_symbols: int) -> FoundLabels:
        """Return what greedy search finds in the first `lengths` [batch, 1] frames of each row."""
