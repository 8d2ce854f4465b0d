"""The ONNX files: example inputs, names and dimensions as docs/architecture.md has them."""

from __future__ import annotations

from pathlib import Path

import torch
from nemo.collections.asr.models import ASRModel

from scripts.export.batch_encoder import BatchEncoder
from scripts.export.decoder_joint import DecoderJoint
from scripts.export.description import ModelDescription
from scripts.export.greedy_graph import save_greedy_graph
from scripts.export.layout import Layout
from scripts.export.onnx_graph import GraphInput, export_graph
from scripts.export.streaming_encoder import StreamingEncoder

_EXAMPLE_BATCH = 3  # not 1: the tracer would take a size of 1 for a constant


def export_graphs(model: ASRModel, description: ModelDescription, layout: Layout) -> None:
    """Write the streaming encoder, the whole-utterance encoder, decoder_joint and decoder_greedy."""
    _export_encoder(model, description, layout.encoder)
    _export_encoder_batch(model, description, layout.encoder_batch)
    _export_decoder_joint(model, description, layout.decoder_joint)
    if not description.transducer.durations:
        save_greedy_graph(layout.decoder_joint, layout.decoder_greedy)


def _lengths(*values: int) -> torch.Tensor:
    return torch.tensor(values).unsqueeze(1)


def _export_encoder(model: ASRModel, description: ModelDescription, path: Path) -> None:
    streaming, shape, n_mels = description.streaming, description.encoder, description.mel.n_mels
    window = streaming.window_frames
    channel, time = shape.cache_channel, shape.cache_time
    export_graph(
        StreamingEncoder(model.encoder, streaming, shape),
        path,
        inputs={
            "FEATURES": GraphInput(torch.zeros(_EXAMPLE_BATCH, n_mels, window), ("B", n_mels, "T")),
            "FEATURES_LENGTH": GraphInput(_lengths(window, window - 1, window), ("B", 1)),
            "cache_channel": GraphInput(torch.zeros(_EXAMPLE_BATCH, *channel), ("B", *channel)),
            "cache_len": GraphInput(_lengths(0, 1, shape.left_context), ("B", 1)),
            "cache_time": GraphInput(torch.zeros(_EXAMPLE_BATCH, *time), ("B", *time)),
        },
        outputs={
            "ENCODED": ("B", "T_encoded", shape.encoder_dim),
            "ENCODED_LENGTH": ("B", 1),
            "cache_channel_next": ("B", *channel),
            "cache_len_next": ("B", 1),
            "cache_time_next": ("B", *time),
        },
    )


def _export_encoder_batch(model: ASRModel, description: ModelDescription, path: Path) -> None:
    n_mels, frames = description.mel.n_mels, 4 * description.streaming.chunk_frames
    export_graph(
        BatchEncoder(model.encoder),
        path,
        inputs={
            "FEATURES": GraphInput(torch.zeros(_EXAMPLE_BATCH, n_mels, frames), ("B", n_mels, "T")),
            "FEATURES_LENGTH": GraphInput(_lengths(frames, frames - 1, 0), ("B", 1)),
        },
        outputs={"ENCODED": ("B", "T_encoded", description.encoder.encoder_dim), "ENCODED_LENGTH": ("B", 1)},
    )


def _export_decoder_joint(model: ASRModel, description: ModelDescription, path: Path) -> None:
    shape, encoder_dim = description.transducer, description.encoder.encoder_dim
    frames = description.streaming.encoder_frames + 1  # not 1, as above
    state = (shape.prediction_layers, shape.prediction_hidden)
    export_graph(
        DecoderJoint(model.decoder, model.joint, shape.durations),
        path,
        inputs={
            "ENCODED": GraphInput(torch.zeros(_EXAMPLE_BATCH, frames, encoder_dim), ("B", "T", encoder_dim)),
            "TARGET": GraphInput(_lengths(0, 1, shape.blank_id).to(torch.int32), ("B", 1)),
            "STATE_H": GraphInput(torch.zeros(_EXAMPLE_BATCH, *state), ("B", *state)),
            "STATE_C": GraphInput(torch.zeros(_EXAMPLE_BATCH, *state), ("B", *state)),
        },
        outputs={
            "LABEL": ("B", "T"),
            "LABEL_LOG_PROB": ("B", "T"),
            "LABEL_CONFIDENCE": ("B", "T"),
            "LOG_PROBS": ("B", "T", shape.vocabulary_size + 1),
            "STATE_H_NEXT": ("B", *state),
            "STATE_C_NEXT": ("B", *state),
            **({"DURATION": ("B", "T")} if shape.durations else {}),
        },
    )
