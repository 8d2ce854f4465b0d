"""Greedy transducer search by label-looping (Bataev et al., arXiv 2406.06220) over a batch of streams.

Frame by frame, a decoder calls the joint once per frame and once per label. Here each call evaluates the joint for a
run of frames with the current prediction and jumps to the first frame that is not blank. So the number of calls is
the most labels any stream emits plus one, whatever the number of streams and, within a chunk, of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from common.parameters import ModelConfig
from rnnt_decoder.chunk_greedy import ChunkSearch, is_plain
from rnnt_decoder.confidence import confidence
from rnnt_decoder.endpoints import LENGTH, NO_ENDPOINTS
from rnnt_decoder.hypothesis import Hypothesis
from rnnt_decoder.joint import Float32, Int32, Int64, Joint, JointOutput
from rnnt_decoder.stream import Stream
from rnnt_decoder.vocabulary import Vocabulary

# Among many streams, a further call now and then costs less than frames that few of them look at.
_MANY_ROWS, _NARROW = 8, 4
# Label, its log probability, the confidence in it, and how many frames it lasts (TDT).
_Token = tuple[int, float, float, int]


@dataclass(frozen=True)
class GreedySearch:
    """Label-looping greedy search, for plain transducers and those with durations (TDT; Xu et al., arXiv 2304.06795).

    Attributes:
        blank_id: label that means "next frame".
        max_symbols_per_step: most labels on one frame, as NeMo's `greedy.max_symbols`.
        window_frames: most frames evaluated by one call of the joint.
        vocabulary: tells where words start.
    """

    blank_id: int
    max_symbols_per_step: int
    window_frames: int
    vocabulary: Vocabulary

    @staticmethod
    def configured(config: ModelConfig, vocabulary: Vocabulary) -> GreedySearch:
        """Read a model's parameters."""
        return GreedySearch(
            blank_id=config.integer("blank_id"),
            max_symbols_per_step=config.integer("max_symbols_per_step", 1),
            window_frames=config.integer("joint_window_frames", 1),
            vocabulary=vocabulary,
        )

    def __call__(self, encoded: Float32, lengths: Int64, streams: Sequence[Stream], joint: Joint) -> None:
        """Extend each stream by the frames of its row.

        Args:
            encoded: encoder frames [batch, frames, dim].
            lengths: valid frames of each row, [batch].
            streams: one per row; their `search` is a Hypothesis.
            joint: evaluates prediction network and joint.
        """
        plain = np.array([is_plain(stream) for stream in streams])
        plain &= joint.can_search(int(plain.sum()))
        chunks = ChunkSearch(self.blank_id, self.max_symbols_per_step, self.window_frames)
        for rows, search in ((np.flatnonzero(plain), chunks), (np.flatnonzero(~plain), self._loop)):
            if rows.size:
                search(encoded[rows], lengths[rows], [streams[row] for row in rows], joint)

    def _loop(self, encoded: Float32, lengths: Int64, streams: Sequence[Stream], joint: Joint) -> None:
        """Ask the joint once for each label, and apply here what the streams want between labels."""
        rows = [_Row(stream) for stream in streams]
        frame = np.array([stream.skip for stream in streams], np.int64)
        stop = np.array([row.stop(length) for row, length in zip(rows, lengths.tolist(), strict=True)], np.int64)
        active = np.flatnonzero(frame < lengths)
        while active.size:
            left = max(1, int((stop[active] - frame[active]).max()))
            widest = self.window_frames if active.size < _MANY_ROWS else _NARROW
            positions = frame[active, None] + np.arange(min(self.window_frames, widest, left))
            valid = positions < stop[active, None]
            window = encoded[active[:, None], np.minimum(positions, encoded.shape[1] - 1)]
            output = self._best(window, [rows[index] for index in active], joint)
            speaks = (output.labels != self.blank_id) & valid
            if output.durations is None:
                emits = speaks.any(axis=1)
                at = speaks.argmax(axis=1)
                blanks = np.where(emits, at, valid.sum(axis=1))
            else:
                blanks = _hops(speaks, valid, output.durations)
                emits = blanks < valid.sum(axis=1)
                at = np.minimum(blanks, positions.shape[1] - 1)
            reached = frame[active] + blanks
            # Lists, since NumPy's scalars are slow.
            found = zip(active.tolist(), reached.tolist(), blanks.tolist(), emits.tolist(), strict=True)
            tokens = _tokens(output, at)
            for place, (index, now, passed, speaking) in enumerate(found):
                row = rows[index]
                if passed:
                    row.hypothesis.symbols = 0
                if speaking:
                    reached[place] += self._emit(row, now, place, tokens[place], output)
                if row.has_rules:
                    stop[index] = row.stop_or_end_segment(int(reached[place]), int(lengths[index]))
            frame[active] = reached
            active = active[reached < lengths[active]]
        for stream, length, skip in zip(streams, lengths.tolist(), (frame - lengths).tolist(), strict=True):
            stream.skip = skip
            stream.frames += length

    def _best(self, window: Float32, rows: Sequence[_Row], joint: Joint) -> JointOutput:
        """Ask the joint for the best label of every frame, fused where a stream wants that."""
        hypotheses = [row.hypothesis for row in rows]
        targets = np.array([[one.last_label] for one in hypotheses], np.int32)
        state_h = np.array([one.state_h for one in hypotheses])
        state_c = np.array([one.state_c for one in hypotheses])
        if not any(row.stream.options.fusion for row in rows):
            return joint.best(window, targets, state_h, state_c)
        output = joint.distributions(window, targets, state_h, state_c)
        scores = output.log_probs.copy()
        for index, row in enumerate(rows):
            fusion = row.stream.options.fusion
            if fusion is not None:
                scores[index] = fusion.fuse(output.log_probs[index], row.hypothesis.fusion_state)
        labels = scores.argmax(axis=-1)
        log_probs = np.take_along_axis(output.log_probs, labels[..., None], axis=-1)[..., 0]
        return JointOutput(
            labels.astype(np.int32),
            log_probs,
            confidence(output.log_probs),
            output.durations,
            output.state_h,
            output.state_c,
        )

    def _emit(self, row: _Row, frame: int, place: int, token: _Token, output: JointOutput) -> int:
        """Add the label of one row; return by how many frames that takes it forward."""
        hypothesis = row.hypothesis
        label, log_prob, confidence, duration = token
        now = row.stream.frames + frame
        if row.has_rules and row.too_long(now) and self.vocabulary.starts_word(label):
            row.stream.end_segment(LENGTH, now)
            return 0  # the word is decoded again, as the first of the next segment
        hypothesis.tokens.append(label, now, log_prob, confidence)
        hypothesis.last_label = label
        hypothesis.state_h = output.state_h[place]
        hypothesis.state_c = output.state_c[place]
        if row.stream.options.fusion is not None:
            hypothesis.fusion_state = row.stream.options.fusion.advance(hypothesis.fusion_state, label)
        hypothesis.symbols = 0 if duration else hypothesis.symbols + 1
        if hypothesis.symbols >= self.max_symbols_per_step:
            hypothesis.symbols = 0
            return 1
        return duration


@dataclass(frozen=True)
class _Row:
    """One stream during one call. Frames are counted from the start of the chunk."""

    stream: Stream

    @property
    def hypothesis(self) -> Hypothesis:
        return cast("Hypothesis", self.stream.search)

    def stop(self, length: int) -> int:
        """Frame before which to stop: the end of the chunk, or where the segment ends if no label comes before."""
        if not self.has_rules:
            return length
        hypothesis = self.hypothesis
        due = self.stream.options.endpoints.due_frame(hypothesis.start_frame, hypothesis.last_frame)
        return min(length, due - self.stream.frames)

    @property
    def has_rules(self) -> bool:
        """Whether the segment may end before the chunk does."""
        return self.stream.options.endpoints is not NO_ENDPOINTS

    def too_long(self, now: int) -> bool:
        """Whether the segment shall end rather than begin another word at a frame of the stream."""
        hypothesis = self.hypothesis
        return self.stream.options.endpoints.too_long(hypothesis.start_frame, hypothesis.last_frame, now)

    def stop_or_end_segment(self, frame: int, length: int) -> int:
        """End the segment before a frame if a rule says so; return the frame before which to stop."""
        rules, hypothesis = self.stream.options.endpoints, self.hypothesis
        now = self.stream.frames + frame
        if now >= rules.due_frame(hypothesis.start_frame, hypothesis.last_frame):
            self.stream.end_segment(rules.rule_of_silence(hypothesis.last_frame), now)
        return self.stop(length)


def _tokens(output: JointOutput, at: Int64) -> list[_Token]:
    """Return what each row emits if it emits at a position of its window."""
    picked = np.arange(len(at)), at
    durations = [0] * len(at) if output.durations is None else output.durations[picked].tolist()
    columns = (output.labels[picked].tolist(), output.log_probs[picked].tolist(), output.confidences[picked].tolist())
    return list(zip(*columns, durations, strict=True))


def _hops(speaks: npt.NDArray[np.bool_], valid: npt.NDArray[np.bool_], durations: Int32) -> Int64:
    """Follow the durations of blanks to the first label or behind the valid frames; return the position, [batch]."""
    rows, count = np.arange(len(speaks)), valid.sum(axis=1)
    position = np.zeros(len(speaks), np.int64)
    while True:
        inside = np.minimum(position, speaks.shape[1] - 1)
        moving = (position < count) & ~speaks[rows, inside]
        if not moving.any():
            return position
        # A blank that lasts no frame would never end (NeMo makes it one).
        position += np.where(moving, np.maximum(1, durations[rows, inside]), 0)
