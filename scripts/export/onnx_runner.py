"""The exported graphs in plain ONNX Runtime, without a server: for verification and tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from scripts.export.description import EncoderShape, ModelDescription
from scripts.export.windows import Float32, Window, cut

Arrays = dict[str, npt.NDArray[Any]]


def open_graph(path: Path, *, fuse_quantisers: bool = True) -> onnxruntime.InferenceSession:
    """Load a graph on one CPU thread. ONNX Runtime takes FP8 for INT8 where it fuses quantisers with products."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "0" if fuse_quantisers else "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_graph(session: onnxruntime.InferenceSession, inputs: Arrays) -> Arrays:
    """Run a graph for all its outputs, by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def empty_caches(shape: EncoderShape, batch: int) -> Arrays:
    """Return the states of sequences at START."""
    return {
        "cache_channel": np.zeros((batch, *shape.cache_channel), np.float32),
        "cache_len": np.zeros((batch, 1), np.int64),
        "cache_time": np.zeros((batch, *shape.cache_time), np.float32),
    }


class OnnxEncoder:
    """Streams utterances through the exported encoder as the server does."""

    def __init__(self, path: Path, description: ModelDescription, *, fuse_quantisers: bool = True) -> None:
        """Load the graph, as `open_graph`."""
        self._session = open_graph(path, fuse_quantisers=fuse_quantisers)
        self._description = description

    def __call__(self, features: Float32) -> Float32:
        """Encode [n_mels, frames] chunk by chunk to [encoder frames, encoder_dim]."""
        caches = empty_caches(self._description.encoder, 1)
        encoded: list[Float32] = []
        for window in cut(features, self._description.streaming):
            (frames,), caches = self.step([window], caches)
            encoded.append(frames)
        return np.concatenate(encoded)

    def step(self, windows: Sequence[Window], caches: Arrays) -> tuple[list[Float32], Arrays]:
        """Encode one window of equal size for every row of the caches.

        Returns:
            the valid encoder frames of each row, [frames, encoder_dim], and the next caches.
        """
        outputs = run_graph(
            self._session,
            {
                "FEATURES": np.stack([window.features for window in windows]),
                "FEATURES_LENGTH": np.array([[window.length] for window in windows]),
                **caches,
            },
        )
        lengths = outputs["ENCODED_LENGTH"][:, 0]
        frames = [row[:length] for row, length in zip(outputs["ENCODED"], lengths, strict=True)]
        return frames, {name: outputs[f"{name}_next"] for name in caches}
