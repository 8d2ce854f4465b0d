"""Scores added to those of the transducer: a language model, phrases to listen for, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rnnt_decoder.joint import Float32


class FusionModel(Protocol):
    """Scores every next label, given the labels before it."""

    @property
    def start(self) -> Any:
        """State before the first label of a segment."""

    def scores(self, state: Any) -> Float32:
        """Return natural-log scores of the next label, [labels without blank] float32, weighted."""

    def advance(self, state: Any, label: int) -> Any:
        """Return the state after a label."""

    def final_score(self, state: Any, /) -> float:
        """Return the score for ending here."""


@dataclass(frozen=True)
class Fusion:
    """What one stream adds to the transducer's scores.

    Attributes:
        models: their scores are added; states are tuples, one entry a model.
        lm_weight: sum of the weights of the language models among them. A language model says nothing about blank, so
            labels are weighed against each other only: with the probability b of blank, labels get
            `lm_weight * log(1 - b)` besides their score and blank `lm_weight * log(b)`, as in NeMo's
            `BlankLMScoreMode.LM_WEIGHTED_FULL`.
    """

    models: tuple[FusionModel, ...]
    lm_weight: float = 0.0

    @property
    def start(self) -> tuple[Any, ...]:
        """State before the first label of a segment."""
        return tuple(model.start for model in self.models)

    def advance(self, state: tuple[Any, ...], label: int) -> tuple[Any, ...]:
        """Return the state after a label."""
        return tuple(model.advance(part, label) for model, part in zip(self.models, state, strict=True))

    def final_score(self, state: tuple[Any, ...]) -> float:
        """Return the score for ending a segment here."""
        return sum(model.final_score(part) for model, part in zip(self.models, state, strict=True))

    def fuse(self, log_probs: Float32, state: tuple[Any, ...]) -> Float32:
        """Add the scores.

        Args:
            log_probs: natural-log probabilities, blank last, [..., labels] float32.
            state: after the labels so far.

        Returns:
            Fused scores, same shape; not normalised.
        """
        fused = log_probs.copy()
        for model, part in zip(self.models, state, strict=True):
            fused[..., :-1] += model.scores(part)
        if self.lm_weight:
            blank = log_probs[..., -1:]
            # A blank that is certain leaves nothing to the labels; the bound is NeMo's.
            fused[..., :-1] += self.lm_weight * np.log1p(-np.minimum(np.exp(blank), 0.99))
            fused[..., -1:] += self.lm_weight * blank
        return fused
