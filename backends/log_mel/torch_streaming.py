"""Streaming log-mel of `streaming.py` in torch: all streams of a batch together, what they keep in slots on the device.

A chunk is a whole number of hops. So every chunk but the first finds equally many samples that later frames still
need, and completes `chunk_frames` frames; and every window is the first `window_frames` of what was kept before it (the
*history*: repeated frames, and those not due yet) and what is new. The first chunk fits in, too: its tail is zeros, and
the frames before the audio are zeros instead of their features. Hence one step for first and later chunks alike,
with no loop over streams but the copies into and out of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.sequences import ServerBusy
from log_mel.front_end import Chunk, Window
from log_mel.streaming import WindowGeometry
from log_mel.torch_mel import TorchLogMel


@dataclass
class SlotState:
    """What the host knows of one stream.

    Attributes:
        slot: row of the tensors on the device.
        samples: received so far.
        frames: computed so far; those before the audio count below zero.
        fresh: whether there was no chunk yet, so that whatever is in the slot counts as zero.
    """

    slot: int
    samples: int
    frames: int
    fresh: bool = True


class TorchStreamingLogMel:
    """See `front_end.FrontEnd`."""

    def __init__(self, transform: TorchLogMel, geometry: WindowGeometry, slots: int) -> None:
        """Allocate what so many streams keep.

        Raises:
            ValueError: a chunk is no whole number of hops, or the first one is too short for its window.
        """
        mel = transform.mel
        if geometry.chunk_samples != geometry.chunk_frames * mel.hop_samples:
            raise ValueError(
                f"chunk_samples is {geometry.chunk_samples}; torch takes {geometry.chunk_frames} (chunk_frames) times "
                f"{mel.hop_samples} (hop_samples): set features_execution to cpu"
            )
        first = (mel.half_window + geometry.chunk_samples - len(mel.window)) // mel.hop_samples + 1
        self._history_frames = geometry.context_frames + first - geometry.first_chunk_frames
        self._frames_before = geometry.chunk_frames - first
        if first < geometry.first_chunk_frames or self._frames_before < 0:
            raise ValueError(
                f"the first chunk completes {first} frames; torch takes {geometry.first_chunk_frames} "
                f"(first_chunk_frames) to {geometry.chunk_frames} (chunk_frames): set features_execution to cpu"
            )
        self.geometry = geometry
        self._transform = transform
        tail = mel.half_window + geometry.chunk_samples - first * mel.hop_samples
        self._tails, self._previous, self._history = (
            torch.zeros((slots, *shape), device=transform.device)
            for shape in ((tail,), (1,), (self._history_frames, mel.n_mels))
        )
        self._free = list(range(slots))
        self._total = slots

    def new_state(self) -> SlotState:
        """State of a stream that has received nothing. Raises ServerBusy when all slots are taken."""
        if not self._free:
            raise ServerBusy(f"server full: {self._total} streams have features on the device; try again later")
        return SlotState(self._free.pop(), samples=0, frames=-self._frames_before)

    def warm_up(self, largest: int) -> None:
        """Run a first and a last chunk of one stream, and of as many as there may be, before anybody asks."""
        silence = np.zeros(self.geometry.chunk_samples, np.float32)
        for count in {1, min(largest, self._total)}:
            states = [self.new_state() for _ in range(count)]
            for end in (False, True):
                self.windows([Chunk(state, silence, end) for state in states])
            for state in states:
                self.release(state)

    def release(self, state: SlotState) -> None:
        """Give the slot back."""
        self._free.append(state.slot)

    @property
    def used(self) -> int:
        """How many slots belong to a stream."""
        return self._total - len(self._free)

    def windows(self, chunks: Sequence[Chunk[SlotState]]) -> list[Window]:
        """Add a chunk to each of several streams; return the window of each."""
        windows: dict[int, Window] = {}
        for end, step in ((False, self._continue), (True, self._finish)):
            chosen = [index for index, chunk in enumerate(chunks) if chunk.end == end]
            if chosen:
                windows |= zip(chosen, step([chunks[index] for index in chosen]), strict=True)
        return [windows[index] for index in range(len(chunks))]

    def empty_window(self) -> Window:
        """A window without a frame: releases a failed sequence in the later steps without adding audio."""
        return Window(np.zeros((self.geometry.window_frames, self._transform.mel.n_mels), np.float32), 0)

    @torch.inference_mode()
    def _continue(self, chunks: Sequence[Chunk[SlotState]]) -> list[Window]:
        """Whole chunks: keep what later ones need."""
        geometry, hop = self.geometry, self._transform.mel.hop_samples
        audio, slots, fresh = self._upload(chunks, geometry.chunk_samples)
        buffer = torch.cat([self._tail(slots, fresh), self._emphasised(audio, slots, fresh)], dim=1)
        frames = self._frames(buffer, slots, fresh)
        self._tails.index_copy_(0, slots, buffer[:, geometry.chunk_frames * hop :])
        self._previous.index_copy_(0, slots, audio[:, -1:])
        self._history.index_copy_(0, slots, frames[:, geometry.chunk_frames :])
        features = _download(frames[:, : geometry.window_frames])
        for chunk in chunks:
            chunk.state.samples += geometry.chunk_samples
            chunk.state.frames += geometry.chunk_frames
            chunk.state.fresh = False
        return [Window(row.T, geometry.window_frames) for row in features]

    @torch.inference_mode()
    def _finish(self, chunks: Sequence[Chunk[SlotState]]) -> list[Window]:
        """Last audio of streams, of different length: silence behind it, and all frames that are there."""
        geometry, mel = self.geometry, self._transform.mel
        lengths = np.array([len(chunk.audio) for chunk in chunks])
        audio, slots, fresh = self._upload(chunks, max(1, int(lengths.max())))
        inside = torch.arange(audio.shape[1]) < torch.from_numpy(lengths)[:, None]
        emphasised = self._emphasised(audio, slots, fresh) * inside.to(audio.device)
        silence = audio.new_zeros(len(chunks), len(mel.window))
        frames = self._frames(torch.cat([self._tail(slots, fresh), emphasised, silence], dim=1), slots, fresh)
        features = _download(frames)
        windows = []
        for chunk, row in zip(chunks, features, strict=True):
            state = chunk.state
            state.samples += len(chunk.audio)
            valid = self._history_frames + mel.frame_count(state.samples) - state.frames
            state.frames, state.fresh = mel.frame_count(state.samples), False
            window = np.zeros((mel.n_mels, geometry.frames_to_send(valid)), np.float32)
            window[:, :valid] = row[:, :valid]
            windows.append(Window(window.T, valid))
        return windows

    def _upload(self, chunks: Sequence[Chunk[SlotState]], samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return audio [B, samples], silence behind shorter ones, slots [B], and which are fresh, [B, 1]."""
        device = self._transform.device
        staged = torch.zeros((len(chunks), samples), pin_memory=device.type == "cuda")
        for row, chunk in zip(staged.numpy(), chunks, strict=True):
            row[: len(chunk.audio)] = chunk.audio
        slots = torch.tensor([chunk.state.slot for chunk in chunks])
        fresh = torch.tensor([[chunk.state.fresh] for chunk in chunks])
        return staged.to(device, non_blocking=True), slots.to(device), fresh.to(device)

    def _tail(self, slots: Tensor, fresh: Tensor) -> Tensor:
        return self._tails.index_select(0, slots).masked_fill(fresh, 0)

    def _emphasised(self, audio: Tensor, slots: Tensor, fresh: Tensor) -> Tensor:
        return self._transform.emphasise(audio, self._previous.index_select(0, slots).masked_fill(fresh, 0))

    def _frames(self, buffer: Tensor, slots: Tensor, fresh: Tensor) -> Tensor:
        """Return history and new frames, [B, frames, n_mels]; zeros before the audio of a fresh stream."""
        new = self._transform.features(buffer)
        new[:, : self._frames_before].masked_fill_(fresh[..., None], 0)
        return torch.cat([self._history.index_select(0, slots).masked_fill(fresh[..., None], 0), new], dim=1)


def _download(frames: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return [B, frames, n_mels] as [B, n_mels, frames], as the encoder takes it."""
    features: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = frames.transpose(1, 2).contiguous().cpu().numpy()
    return features
