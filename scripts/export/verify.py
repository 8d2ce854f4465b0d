"""Proof after every export: the ONNX files against NeMo itself, on random features of many lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from nemo.collections.asr.models import ASRModel

from scripts.export.description import ModelDescription
from scripts.export.layout import Layout
from scripts.export.onnx_runner import OnnxEncoder, open_graph, run_graph
from scripts.export.support import durations_of
from scripts.export.windows import Float32

# Float32 sums in another order; a wrong mask or cache differs by far more.
TOLERANCE = 2e-3


@dataclass(frozen=True)
class Differences:
    """Largest absolute difference from NeMo of each graph, in the units of its outputs."""

    encoder: float
    encoder_batch: float
    decoder_joint: float


@torch.no_grad()
def encode_offline(model: ASRModel, features: Float32) -> Float32:
    """Encode [n_mels, frames] with NeMo in one piece to [encoder frames, encoder_dim]."""
    encoded, length = model.encoder(
        audio_signal=torch.from_numpy(features)[None], length=torch.tensor([features.shape[1]])
    )
    frames: Float32 = encoded[0, :, : int(length)].T.numpy()
    return frames


@torch.no_grad()
def join(
    model: ASRModel, encoded: Float32, target: int, state_h: Float32, state_c: Float32
) -> tuple[Float32, npt.NDArray[np.int64], Float32, Float32]:
    """Run NeMo's prediction network and joint for one label.

    Args:
        model: any RNN-T or TDT.
        encoded: [frames, encoder_dim].
        target: label or blank.
        state_h: LSTM state before target, [prediction_layers, prediction_hidden].
        state_c: as state_h.

    Returns:
        log-probabilities [frames, vocabulary + 1], the best duration of each frame [frames] int64, or nothing for an
        RNN-T, and the next states.
    """
    states = [torch.from_numpy(state)[:, None] for state in (state_h, state_c)]
    prediction, (h, c) = model.decoder.predict(torch.tensor([[target]]), state=states, add_sos=False)
    logits = model.joint.joint(torch.from_numpy(encoded)[None], prediction)[0, :, 0]
    labels = logits.size(-1) - model.joint.num_extra_outputs
    values = torch.tensor(durations_of(model), dtype=torch.int64)
    durations = values[logits[:, labels:].argmax(dim=-1)] if len(values) else values
    return logits[:, :labels].log_softmax(dim=-1).numpy(), durations.numpy(), h[:, 0].numpy(), c[:, 0].numpy()


def verify(model: ASRModel, description: ModelDescription, layout: Layout) -> Differences:
    """Compare the exported graphs with the model they come from.

    Raises:
        ArithmeticError: a graph differs by more than `TOLERANCE`, or yields another number of frames.
    """
    random = np.random.default_rng(0)
    streaming = description.streaming
    streamed = OnnxEncoder(layout.encoder, description)
    batch = open_graph(layout.encoder_batch)
    # The last chunk at every remainder, in a first chunk, a second one and with a full cache.
    full_cache = streaming.chunk_frames * (description.encoder.left_context // streaming.encoder_frames + 2)
    starts = (0, streaming.chunk_frames, full_cache)
    lengths = [start + extra for start in starts for extra in range(1, streaming.chunk_frames + 1, 5)]
    encoder = encoder_batch = 0.0
    for frames in lengths:
        features = random.standard_normal((description.mel.n_mels, frames)).astype(np.float32)
        expected = encode_offline(model, features)
        outputs = run_graph(batch, {"FEATURES": features[None], "FEATURES_LENGTH": np.array([[frames]])})
        encoder = max(encoder, _difference(f"encoder at {frames} frames", streamed(features), expected))
        whole = outputs["ENCODED"][0, : outputs["ENCODED_LENGTH"].item()]
        encoder_batch = max(encoder_batch, _difference(f"encoder_batch at {frames} frames", whole, expected))
    return Differences(encoder, encoder_batch, _verify_decoder_joint(model, description, layout, random))


def _verify_decoder_joint(
    model: ASRModel, description: ModelDescription, layout: Layout, random: np.random.Generator
) -> float:
    shape = description.transducer
    session = open_graph(layout.decoder_joint)
    largest = 0.0
    for target in (shape.blank_id, 0, shape.vocabulary_size - 1):
        encoded = random.standard_normal((5, description.encoder.encoder_dim)).astype(np.float32)
        state_h, state_c = random.standard_normal(
            (2, shape.prediction_layers, shape.prediction_hidden), dtype=np.float32
        )
        scores, durations, h, c = join(model, encoded, target, state_h, state_c)
        outputs = run_graph(
            session,
            {
                "ENCODED": encoded[None],
                "TARGET": np.array([[target]], np.int32),
                "STATE_H": state_h[None],
                "STATE_C": state_c[None],
            },
        )
        for name, expected in (("LOG_PROBS", scores), ("STATE_H_NEXT", h), ("STATE_C_NEXT", c)):
            largest = max(largest, _difference(f"decoder_joint {name}", outputs[name][0], expected))
        if len(durations) and not np.array_equal(outputs["DURATION"][0], durations):
            raise ArithmeticError(f"decoder_joint DURATION is {outputs['DURATION'][0]}, NeMo's {durations}")
    return largest


def _difference(what: str, actual: Float32, expected: Float32) -> float:
    if actual.shape != expected.shape:
        raise ArithmeticError(f"{what} has shape {actual.shape}, NeMo {expected.shape}")
    difference = float(np.abs(actual - expected).max(initial=0.0))
    if not difference <= TOLERANCE:
        raise ArithmeticError(f"{what} differs from NeMo by {difference:g}; at most {TOLERANCE:g} is allowed")
    return difference
