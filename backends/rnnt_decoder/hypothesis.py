"""The RNN-T state of one sequence: what has been recognised and where the prediction network stands."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from common.parameters import ModelConfig

Float32 = npt.NDArray[np.float32]


@dataclass
class Hypothesis:
    """A greedy hypothesis.

    Attributes:
        last_label: label the prediction network reads next; blank before the first one.
        state_h: its LSTM hidden state before `last_label`, [layers, hidden] float32.
        state_c: its LSTM cell state before `last_label`, [layers, hidden] float32.
        tokens: labels emitted so far.
        frames: encoder frame of each token, counted from the start of the audio.
        log_probs: natural-log probability of each token.
        frames_decoded: encoder frames consumed so far.
    """

    last_label: int
    state_h: Float32
    state_c: Float32
    tokens: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    frames_decoded: int = 0


@dataclass(frozen=True)
class PredictionShape:
    """Shape of the prediction network's state, and the blank that stands for "no label yet"."""

    layers: int
    hidden: int
    blank_id: int

    @staticmethod
    def configured(config: ModelConfig) -> PredictionShape:
        """Read a model's parameters."""
        return PredictionShape(
            layers=config.integer("prediction_layers", 1),
            hidden=config.integer("prediction_hidden", 1),
            blank_id=config.integer("blank_id"),
        )

    def new_hypothesis(self) -> Hypothesis:
        """Hypothesis of a sequence of which nothing has been decoded."""
        zeros = np.zeros((self.layers, self.hidden), np.float32)
        return Hypothesis(self.blank_id, zeros, zeros)
