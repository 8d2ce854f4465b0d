"""The features of an utterance cut into encoder windows, as the streaming front end sends them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scripts.export.description import StreamingGeometry

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """One encoder step.

    Attributes:
        features: [n_mels, window_frames or final_window_frames] float32.
        length: valid frames, counted from the first one.
    """

    features: Float32
    length: int


def cut(features: Float32, geometry: StreamingGeometry) -> Iterator[Window]:
    """Yield the windows of features [n_mels, frames]. The last one takes all the frames that are left.

    The front end has the frames of a chunk only when its audio is complete, and the first window takes fewer than a
    chunk of them; so END, which comes with the last audio, may find more than a chunk of frames.
    """
    n_mels, frames = features.shape
    chunks = max(1, -(-frames // geometry.chunk_frames))
    start = 0
    for chunk in range(chunks):
        if chunk == 0:
            left, new = np.zeros((n_mels, geometry.left_pad_frames), np.float32), geometry.first_chunk_frames
        else:
            repeated = features[:, max(0, start - geometry.pre_encode_cache_frames) : start]
            missing = geometry.pre_encode_cache_frames - repeated.shape[1]
            left, new = np.pad(repeated, ((0, 0), (missing, 0))), geometry.chunk_frames
        end = frames if chunk == chunks - 1 else start + new
        valid = np.concatenate([left, features[:, start:end]], axis=1)
        length = valid.shape[1]
        size = geometry.window_frames if length <= geometry.window_frames else geometry.final_window_frames
        yield Window(np.pad(valid, ((0, 0), (0, size - length))), length)
        start = end
