"""Greedy RNN-T search by label-looping (Bataev et al., arXiv 2406.06220) over a batch of sequences.

Frame by frame, a decoder calls the joint once per frame and once per label. Here each call evaluates the joint for a
run of frames with the current prediction and jumps to the first frame that is not blank. So the number of calls is
the most labels any sequence emits plus one, whatever the number of sequences and, within a chunk, of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from common.parameters import ModelConfig
from rnnt_decoder.hypothesis import Float32, Hypothesis

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class JointOutput:
    """What `decoder_joint` says about a run of frames.

    Attributes:
        labels: most probable label of each frame, blank included, [batch, frames] int32.
        log_probs: its natural-log probability, [batch, frames] float32.
        state_h: LSTM hidden state after the target, [batch, layers, hidden] float32.
        state_c: LSTM cell state after the target, [batch, layers, hidden] float32.
    """

    labels: Int32
    log_probs: Float32
    state_h: Float32
    state_c: Float32


class Joint(Protocol):
    """The prediction network and the joint, wherever they run."""

    def __call__(self, encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32) -> JointOutput:
        """Evaluate [batch, frames, dim] encoder frames after the labels [batch, 1] and their states."""


@dataclass(frozen=True)
class GreedySearch:
    """Label-looping greedy search.

    Attributes:
        blank_id: label that means "next frame".
        max_symbols_per_step: most labels on one frame, as NeMo's `greedy.max_symbols`.
        window_frames: frames evaluated by one call of the joint.
    """

    blank_id: int
    max_symbols_per_step: int
    window_frames: int

    @staticmethod
    def configured(config: ModelConfig) -> GreedySearch:
        """Read a model's parameters."""
        return GreedySearch(
            blank_id=config.integer("blank_id"),
            max_symbols_per_step=config.integer("max_symbols_per_step", 1),
            window_frames=config.integer("joint_window_frames", 1),
        )

    def __call__(
        self, encoded: Float32, lengths: npt.NDArray[np.int64], hypotheses: Sequence[Hypothesis], joint: Joint
    ) -> None:
        """Extend each hypothesis by the frames of its row.

        The hypotheses change only after the last call of the joint, so an exception leaves them as they were.

        Args:
            encoded: encoder frames [batch, frames, dim].
            lengths: valid frames of each row, [batch].
            hypotheses: one per row.
            joint: evaluates prediction network and joint.
        """
        rows = len(hypotheses)
        labels = np.array([[hypothesis.last_label] for hypothesis in hypotheses], np.int32)
        state_h = np.stack([hypothesis.state_h for hypothesis in hypotheses])
        state_c = np.stack([hypothesis.state_c for hypothesis in hypotheses])
        emitted: list[list[tuple[int, int, float]]] = [[] for _ in range(rows)]
        frame = np.zeros(rows, np.int64)
        symbols = np.zeros(rows, np.int64)
        steps = np.arange(self.window_frames)

        active = np.flatnonzero(lengths > 0)
        while active.size:
            positions = frame[active, None] + steps
            valid = positions < lengths[active, None]
            window = encoded[active[:, None], np.minimum(positions, encoded.shape[1] - 1)]
            output = joint(window, labels[active], state_h[active], state_c[active])

            speaks = (output.labels != self.blank_id) & valid
            emits = speaks.any(axis=1)
            blanks = np.where(emits, speaks.argmax(axis=1), valid.sum(axis=1))
            frame[active] += blanks
            symbols[active[blanks > 0]] = 0

            speakers = active[emits]
            at = blanks[emits]
            new_labels = output.labels[emits, at]
            for row, label, log_prob in zip(speakers, new_labels, output.log_probs[emits, at], strict=True):
                emitted[row].append((int(label), int(frame[row]), float(log_prob)))
            labels[speakers, 0] = new_labels
            state_h[speakers] = output.state_h[emits]
            state_c[speakers] = output.state_c[emits]
            symbols[speakers] += 1
            exhausted = speakers[symbols[speakers] >= self.max_symbols_per_step]
            frame[exhausted] += 1
            symbols[exhausted] = 0
            active = active[frame[active] < lengths[active]]

        for row, hypothesis in enumerate(hypotheses):
            for label, at_frame, log_prob in emitted[row]:
                hypothesis.tokens.append(label)
                hypothesis.frames.append(hypothesis.frames_decoded + at_frame)
                hypothesis.log_probs.append(log_prob)
            hypothesis.last_label = int(labels[row, 0])
            hypothesis.state_h = state_h[row]
            hypothesis.state_c = state_c[row]
            hypothesis.frames_decoded += int(lengths[row])
