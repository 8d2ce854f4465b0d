"""What the adapter asks of a front end, whichever features it computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from log_mel.mel import Float32

StateT = TypeVar("StateT")


@dataclass(frozen=True)
class Window:
    """What one request hands to the encoder.

    Attributes:
        features: [frames, n_mels] float32.
        length: valid frames, counted from the first one.
    """

    features: Float32
    length: int


@dataclass(frozen=True)
class Chunk(Generic[StateT]):
    """Checked audio of one request, and the stream that it belongs to.

    Attributes:
        state: of the stream.
        audio: [samples] float32.
        end: whether it is the last of the stream.
    """

    state: StateT
    audio: Float32
    end: bool


class FrontEnd(Protocol[StateT]):
    """Streams of audio to windows of features. Holds no stream itself."""

    def new_state(self) -> StateT:
        """State of a stream that has received nothing."""

    def release(self, state: StateT) -> None:
        """Give back what the state of a stream holds; called once, when the stream is gone."""

    def windows(self, chunks: Sequence[Chunk[StateT]]) -> list[Window]:
        """Add a chunk to each of several streams; return the window of each."""

    def empty_window(self) -> Window:
        """A window without a frame: releases a failed sequence in the later steps without adding audio."""
