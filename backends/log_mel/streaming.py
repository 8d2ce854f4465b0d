"""Streaming log-mel: chunks of audio in, the encoder's windows of frames out.

A window is what NeMo's cache-aware encoder takes for one step: some frames repeated from before and `chunk_frames`
new ones. The first window of a stream has `first_chunk_frames` new ones and zero frames on the left instead, masked
inside the exported graph, so that all windows have one shape. The frames of a stream are those of the whole
utterance, bit for bit, however it is cut into chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from common.parameters import ModelConfig
from log_mel.front_end import Chunk, Window
from log_mel.mel import Float32, LogMel


@dataclass(frozen=True)
class WindowGeometry:
    """How many mel frames go into an encoder step (NeMo: `encoder.streaming_cfg`).

    Attributes:
        chunk_samples: samples of every request but the one with END.
        chunk_frames: new frames of a later window.
        first_chunk_frames: new frames of the first window.
        context_frames: frames repeated at the left of a later window (`pre_encode_cache_size`).
        left_pad_frames: zero frames at the left of the first window.
        window_frames: frames of a window.
        final_window_frames: frames of the longer window that END may need.
    """

    chunk_samples: int
    chunk_frames: int
    first_chunk_frames: int
    context_frames: int
    left_pad_frames: int
    window_frames: int
    final_window_frames: int

    @staticmethod
    def configured(config: ModelConfig) -> WindowGeometry:
        """Read a model's parameters."""
        return WindowGeometry(
            chunk_samples=config.integer("chunk_samples", 1),
            chunk_frames=config.integer("chunk_frames", 1),
            first_chunk_frames=config.integer("first_chunk_frames", 1),
            context_frames=config.integer("pre_encode_cache_frames", 1),
            left_pad_frames=config.integer("left_pad_frames"),
            window_frames=config.integer("window_frames", 1),
            final_window_frames=config.integer("final_window_frames", 1),
        )

    def __post_init__(self) -> None:
        """Raise ValueError when the numbers contradict each other."""
        if self.window_frames != self.context_frames + self.chunk_frames:
            raise ValueError(f"window_frames is {self.window_frames}, not context_frames + chunk_frames: {self}")
        if self.window_frames != self.left_pad_frames + self.first_chunk_frames:
            raise ValueError(f"window_frames is {self.window_frames}, not left_pad_frames + first_chunk_frames: {self}")
        if self.final_window_frames < self.left_pad_frames + self.chunk_frames:
            raise ValueError(f"final_window_frames is {self.final_window_frames}, too few for a whole chunk: {self}")

    def frames_to_send(self, valid: int) -> int:
        """Return how long a window with that many valid frames is; END's may be longer than the others."""
        size = self.window_frames if valid <= self.window_frames else self.final_window_frames
        while size < valid:  # END also brings the chunks that a voice activity gate held back
            size += self.chunk_frames
        return size


@dataclass
class StreamState:
    """What one stream keeps between chunks.

    Attributes:
        tail: emphasised samples that later frames still need, [samples].
        previous_sample: last raw sample, for pre-emphasis.
        samples: samples received so far.
        frames: frames computed so far.
        context: frames to repeat at the left of the next window, [frames, n_mels]; None before the first window.
        pending: frames computed but not sent yet, [frames, n_mels].
    """

    tail: Float32
    pending: Float32
    previous_sample: np.float32 = field(default_factory=lambda: np.float32(0))
    samples: int = 0
    frames: int = 0
    context: Float32 | None = None


class StreamingLogMel:
    """Turns chunks into windows. Holds no stream itself: the state comes and goes with each call."""

    def __init__(self, mel: LogMel, geometry: WindowGeometry) -> None:
        """Bind the transform and the window geometry."""
        self.mel = mel
        self.geometry = geometry

    def new_state(self) -> StreamState:
        """State of a stream that has received nothing."""
        return StreamState(
            tail=np.zeros(self.mel.half_window, np.float32),
            pending=np.zeros((0, self.mel.n_mels), np.float32),
        )

    def windows(self, chunks: Sequence[Chunk[StreamState]]) -> list[Window]:
        """Add a chunk to each of several streams; one transform for all their frames shares the cost of NumPy calls."""
        frames = [self.accept(chunk.state, chunk.audio, end=chunk.end) for chunk in chunks]
        features = self.mel.features(np.concatenate(frames))
        parts = np.split(features, np.cumsum([len(part) for part in frames])[:-1])
        return [self.complete(chunk.state, part, end=chunk.end) for chunk, part in zip(chunks, parts, strict=True)]

    def accept(self, state: StreamState, audio: Float32, *, end: bool) -> Float32:
        """Take [samples] of checked audio into the state and return the frames it completes, untransformed.

        Returns:
            [new frames, window_samples]; `complete` takes their features.
        """
        emphasised = [state.tail, self.mel.emphasise(audio, state.previous_sample)]
        if end:
            emphasised.append(np.zeros(self.mel.half_window, np.float32))
        buffer = np.concatenate(emphasised)
        if len(audio):
            state.previous_sample = audio[-1]
        state.samples += len(audio)
        frames = self.mel.frames(buffer)
        if end:
            frames = frames[: self.mel.frame_count(state.samples) - state.frames]
        state.frames += len(frames)
        state.tail = buffer[len(frames) * self.mel.hop_samples :].copy()
        return frames

    def complete(self, state: StreamState, features: Float32, *, end: bool) -> Window:
        """Add the features of the accepted frames, [frames, n_mels], and return the next window."""
        geometry = self.geometry
        pending = np.concatenate([state.pending, features])
        if state.context is None:
            left = np.zeros((geometry.left_pad_frames, self.mel.n_mels), np.float32)
            due = geometry.first_chunk_frames
        else:
            left = state.context
            due = geometry.chunk_frames
        taken = pending if end else pending[:due]
        state.pending = pending[len(taken) :]
        valid = np.concatenate([left, taken])
        window = np.zeros((geometry.frames_to_send(len(valid)), self.mel.n_mels), np.float32)
        window[: len(valid)] = valid
        state.context = valid[-geometry.context_frames :]
        return Window(window, len(valid))

    def release(self, state: StreamState) -> None:
        """Nothing: all of a stream is in its state."""

    def empty_window(self) -> Window:
        """A window without a frame: releases a failed sequence in the later steps without adding audio."""
        return Window(np.zeros((self.geometry.window_frames, self.mel.n_mels), np.float32), 0)
