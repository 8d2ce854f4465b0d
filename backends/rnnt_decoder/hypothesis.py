"""One hypothesis of the greedy search: where the prediction network stands and what it has emitted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.parameters import ModelConfig
from rnnt_decoder.joint import Float32
from rnnt_decoder.options import DecodingOptions
from rnnt_decoder.tokens import Alternative, Tokens


@dataclass
class Hypothesis:
    """State of the prediction network, and the tokens of the current segment.

    Attributes:
        last_label: label the prediction network reads next; blank before the first one.
        state_h: its LSTM hidden state before `last_label`, [layers, hidden] float32.
        state_c: its LSTM cell state before `last_label`, [layers, hidden] float32.
        fusion_state: state of the stream's fusion model after its tokens; None without one.
        tokens: those of the segment.
        start_frame: first frame of the segment.
        symbols: labels emitted on the frame that comes next.
    """

    last_label: int
    state_h: Float32
    state_c: Float32
    fusion_state: Any = None
    tokens: Tokens = field(default_factory=Tokens)
    start_frame: int = 0
    symbols: int = 0

    @property
    def last_frame(self) -> int | None:
        """Frame of the last token of the segment."""
        return self.tokens.frames[-1] if self.tokens.frames else None

    def alternative(self, options: DecodingOptions) -> Alternative:
        """Return its tokens and the sum of their scores; blanks are not counted, since greedy search skips them."""
        score = sum(self.tokens.log_probs)
        return Alternative(self.tokens, score / (len(self.tokens) + 1) if options.length_normalization else score)


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

    def new_hypothesis(self, *, fusion_state: Any = None, start_frame: int = 0) -> Hypothesis:
        """Hypothesis of a segment of which nothing has been decoded."""
        zeros = np.zeros((self.layers, self.hidden), np.float32)
        return Hypothesis(self.blank_id, zeros, zeros, fusion_state, start_frame=start_frame)
