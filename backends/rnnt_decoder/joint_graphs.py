"""The graphs `decoder_joint` and `decoder_greedy`, whoever runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnt_decoder.joint import Float32, FoundLabels, Int32, Int64, JointDistributions, JointOutput, Prediction

Arrays = dict[str, npt.NDArray[Any]]
# Runs a graph: names of its outputs, its inputs. Raises RuntimeError with the graph's name.
Run = Callable[[list[str], Arrays], Arrays]

_BEST = ["LABEL", "LABEL_LOG_PROB", "LABEL_CONFIDENCE"]
_FOUND = ["LABEL", "FRAME", "LABEL_LOG_PROB", "LABEL_CONFIDENCE"]
_STATE = ["STATE_H_NEXT", "STATE_C_NEXT"]


@dataclass(frozen=True)
class JointGraphs:
    """A `joint.Joint` of graphs. `docs/architecture.md` has their inputs and outputs.

    Attributes:
        joint: runs `decoder_joint`.
        greedy: runs `decoder_greedy`; None where there is none.
        durations: whether they predict durations (TDT).
        most_searched: most rows to search by `greedy`; None for any number. Each of its rounds evaluates all rows.
    """

    joint: Run
    greedy: Run | None
    durations: bool
    most_searched: int | None = None

    def can_search(self, rows: int) -> bool:
        """As `joint.Joint.can_search`."""
        return self.greedy is not None and (self.most_searched is None or rows <= self.most_searched)

    def best(self, encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32) -> JointOutput:
        """As `joint.Joint.best`. Raises RuntimeError when the graph fails."""
        output = self._ask(_BEST, encoded, targets, state_h, state_c)
        labels, log_probs, confidences, next_h, next_c = (output[name] for name in [*_BEST, *_STATE])
        return JointOutput(labels, log_probs, confidences, output.get("DURATION"), next_h, next_c)

    def distributions(self, encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32) -> JointDistributions:
        """As `joint.Joint.distributions`. Raises RuntimeError when the graph fails."""
        output = self._ask(["LOG_PROBS"], encoded, targets, state_h, state_c)
        next_h, next_c = (output[name] for name in _STATE)
        return JointDistributions(output["LOG_PROBS"], output.get("DURATION"), next_h, next_c)

    def search(self, encoded: Float32, lengths: Int64, before: Prediction, max_symbols: int) -> FoundLabels:
        """As `joint.Joint.search`. Raises RuntimeError when the graph fails, or there is none."""
        if self.greedy is None:
            raise RuntimeError("decoder_greedy: there is no such graph")
        inputs: Arrays = {
            "ENCODED": encoded,
            "ENCODED_LENGTH": lengths,
            "MAX_SYMBOLS": np.full(before.targets.shape, max_symbols, np.int32),
            "TARGET": before.targets,
            "STATE_H": before.state_h,
            "STATE_C": before.state_c,
        }
        output = self.greedy([*_FOUND, *_STATE], inputs)
        return FoundLabels(*(output[name] for name in [*_FOUND, *_STATE]))

    def _ask(self, names: list[str], encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32) -> Arrays:
        extra = ["DURATION"] if self.durations else []
        inputs: Arrays = {"ENCODED": encoded, "TARGET": targets, "STATE_H": state_h, "STATE_C": state_c}
        return self.joint([*names, *_STATE, *extra], inputs)
