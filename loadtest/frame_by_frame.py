"""Greedy search the plain way: one call of the joint per frame and label. What label-looping is measured against."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rnnt_decoder.hypothesis import PredictionShape
from rnnt_decoder.joint import Float32, Joint


@dataclass
class FrameByFrame:
    """Some streams that are decoded in one batch, frame by frame, as NeMo's `GreedyBatchedRNNTInfer` does.

    Attributes:
        shape: of the prediction network.
        max_symbols: most labels on one frame.
        streams: how many.
        tokens: labels of each stream so far.
    """

    shape: PredictionShape
    max_symbols: int
    streams: int
    tokens: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        state = (self.streams, self.shape.layers, self.shape.hidden)
        self.tokens = [[] for _ in range(self.streams)]
        self._targets = np.full((self.streams, 1), self.shape.blank_id, np.int32)
        self._state_h, self._state_c = np.zeros(state, np.float32), np.zeros(state, np.float32)

    def decode(self, encoded: list[Float32], joint: Joint) -> None:
        """Search the encoder frames of one chunk of every stream, [frames, dim] each."""
        lengths = np.array([len(piece) for piece in encoded])
        padded = np.zeros((self.streams, int(lengths.max()), encoded[0].shape[1]), np.float32)
        for row, piece in zip(padded, encoded, strict=True):
            row[: len(piece)] = piece
        for frame in range(padded.shape[1]):
            active = np.flatnonzero(frame < lengths)
            for _ in range(self.max_symbols):
                output = joint.best(
                    padded[active, frame : frame + 1],
                    self._targets[active],
                    self._state_h[active],
                    self._state_c[active],
                )
                speaks = np.flatnonzero(output.labels[:, 0] != self.shape.blank_id)
                active = active[speaks]
                if not active.size:
                    break
                self._targets[active] = output.labels[speaks]
                self._state_h[active], self._state_c[active] = output.state_h[speaks], output.state_c[speaks]
                for stream, label in zip(active, output.labels[speaks, 0], strict=True):
                    self.tokens[stream].append(int(label))
