"""Greedy search of streams that ask for nothing else: the graph `decoder_greedy` goes through all labels of a chunk.

It finds what `greedy.py` finds, in one call where that needs one for each label. What a stream may want between two
labels (fusion, the rules of endpoints) is not in the graph, and neither are durations (TDT).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from rnnt_decoder.endpoints import NO_ENDPOINTS
from rnnt_decoder.hypothesis import Hypothesis
from rnnt_decoder.joint import Float32, Int64, Joint, Prediction
from rnnt_decoder.stream import Stream


def is_plain(stream: Stream) -> bool:
    """Whether the graph can search for a stream."""
    return stream.options.fusion is None and stream.options.endpoints is NO_ENDPOINTS


@dataclass(frozen=True)
class ChunkSearch:
    """Greedy search by the graph.

    Attributes:
        blank_id: label that means "no label".
        max_symbols_per_step: most labels on one frame.
        window_frames: most frames to a call.
    """

    blank_id: int
    max_symbols_per_step: int
    window_frames: int

    def __call__(self, encoded: Float32, lengths: Int64, streams: Sequence[Stream], joint: Joint) -> None:
        """Extend each stream by the frames of its row.

        Args:
            encoded: encoder frames [batch, frames, dim].
            lengths: valid frames of each row, [batch].
            streams: one per row, all of them plain; their `search` is a Hypothesis.
            joint: one that can search.
        """
        for first in range(0, int(lengths.max(initial=0)), self.window_frames):
            left = np.minimum(lengths - first, self.window_frames)
            rows = np.flatnonzero(left > 0)
            window = encoded[rows, first : first + int(left.max())]
            self._extend(window, left[rows], [streams[row] for row in rows], joint)
            for row in rows:
                streams[row].frames += int(left[row])

    def _extend(self, window: Float32, lengths: Int64, streams: Sequence[Stream], joint: Joint) -> None:
        """Add the labels of one window; its first frame is the next one of each stream."""
        hypotheses = [cast("Hypothesis", stream.search) for stream in streams]
        before = Prediction(
            np.array([[one.last_label] for one in hypotheses], np.int32),
            np.array([one.state_h for one in hypotheses]),
            np.array([one.state_c for one in hypotheses]),
        )
        found = joint.search(window, lengths[:, None], before, self.max_symbols_per_step)
        # Lists, since NumPy's scalars are slow.
        columns = zip(
            found.labels.tolist(),
            found.frames.tolist(),
            found.log_probs.tolist(),
            found.confidences.tolist(),
            strict=True,
        )
        for place, (stream, hypothesis, row) in enumerate(zip(streams, hypotheses, columns, strict=True)):
            for label, frame, log_prob, confidence in zip(*row, strict=True):
                if label == self.blank_id:
                    break
                hypothesis.tokens.append(label, stream.frames + frame, log_prob, confidence)
                hypothesis.last_label = label
            hypothesis.state_h = found.state_h[place]
            hypothesis.state_c = found.state_c[place]
