"""Inputs of real calls, for calibration and comparison: recordings through the FP32 graphs, states included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from amira_asr.audio import load_audio
from log_mel.mel import LogMel
from scripts.export.description import ModelDescription
from scripts.export.layout import Layout
from scripts.export.onnx_runner import Arrays, empty_caches, open_graph, run_graph
from scripts.export.windows import Float32, cut

AUDIO_SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus"}


def read_features(layout: Layout, description: ModelDescription, audio: Float32) -> Float32:
    """Return the log-mel features [n_mels, frames] of [samples]."""
    geometry = description.mel
    with np.load(layout.mels[0]) as arrays:
        mel = LogMel(
            filterbank=arrays["filterbank"],
            window=arrays["window"],
            n_fft=geometry.n_fft,
            hop_samples=geometry.hop_samples,
            preemphasis=geometry.preemphasis,
            log_guard=geometry.log_guard,
        )
    features: Float32 = mel.utterance(audio).T
    return features


def features_of_folder(layout: Layout, description: ModelDescription, folder: Path) -> list[Float32]:
    """Return the features of every recording of a folder. Raises FileNotFoundError when it has none."""
    paths = sorted(path for path in folder.glob("*") if path.suffix in AUDIO_SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"{folder} has no recordings ({', '.join(sorted(AUDIO_SUFFIXES))})")
    return [read_features(layout, description, load_audio(path)) for path in paths]


def encoder_steps(layout: Layout, description: ModelDescription, recordings: list[Float32]) -> Iterator[Arrays]:
    """Yield the inputs of every step of the streaming encoder, one stream after another."""
    session = open_graph(layout.encoder)
    for features in recordings:
        caches = empty_caches(description.encoder, 1)
        for window in cut(features, description.streaming):
            step: Arrays = {
                "FEATURES": window.features[None],
                "FEATURES_LENGTH": np.array([[window.length]]),
                **caches,
            }
            yield step
            outputs = run_graph(session, step)
            caches = {name: outputs[f"{name}_next"] for name in caches}


def encoder_batch_steps(recordings: list[Float32]) -> Iterator[Arrays]:
    """Yield the inputs of the whole-utterance encoder."""
    for features in recordings:
        yield {"FEATURES": features[None], "FEATURES_LENGTH": np.array([[features.shape[1]]])}
