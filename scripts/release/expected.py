"""What the shipped graphs make of the bundled recordings: exact integers in a file, floats compared on the spot."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from amira_asr.audio import load_audio
from log_mel.mel import LogMel
from scripts.export.description import ModelDescription
from scripts.export.layout import Layout
from scripts.export.onnx_runner import Arrays, OnnxEncoder, open_graph, run_graph
from scripts.export.windows import Float32

EXPECTED_OUTPUTS = "expected_outputs.json"
# Processors add float32 numbers in different orders; other weights differ by far more.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Labels:
    """Greedy search: token ids, and the encoder frame of each."""

    tokens: list[int]
    frames: list[int]


@dataclass(frozen=True)
class ClipLabels:
    """Both models on one recording."""

    streaming: Labels
    batch: Labels


@dataclass(frozen=True)
class ClipFloats:
    """Encoder outputs [encoder frames, encoder_dim] and log-probabilities [tokens] behind `ClipLabels`."""

    streaming: Float32
    batch: Float32
    streaming_log_probs: Float32
    batch_log_probs: Float32


@dataclass(frozen=True)
class Outputs:
    """Everything by file name of the recording."""

    labels: dict[str, ClipLabels]
    floats: dict[str, ClipFloats]


def compute(model_repo: Path, clips: Path) -> Outputs:
    """Run the graphs of a repository on every recording of a folder, in plain ONNX Runtime.

    Raises:
        FileNotFoundError: the folder has no recordings.
    """
    paths = sorted(clips.glob("*.flac"))
    if not paths:
        raise FileNotFoundError(f"{clips} has no recordings (*.flac)")
    layout = Layout(model_repo)
    description = ModelDescription.load(layout.description)
    mel = _front_end(layout, description)
    encoder, encoder_batch = OnnxEncoder(layout.encoder, description), open_graph(layout.encoder_batch)
    joint = open_graph(layout.decoder_joint)
    labels, floats = {}, {}
    for path in paths:
        features = mel.utterance(load_audio(path)).T
        streamed = encoder(features)
        inputs: Arrays = {"FEATURES": features[None], "FEATURES_LENGTH": np.array([[features.shape[1]]])}
        whole = run_graph(encoder_batch, inputs)["ENCODED"][0]
        streaming, streaming_log_probs = _greedy(joint, streamed, description)
        batch, batch_log_probs = _greedy(joint, whole, description)
        labels[path.name] = ClipLabels(streaming, batch)
        floats[path.name] = ClipFloats(streamed, whole, streaming_log_probs, batch_log_probs)
    return Outputs(labels, floats)


def save_labels(path: Path, labels: dict[str, ClipLabels]) -> None:
    """Write token ids and frames as JSON, one recording a line."""
    lines = [f'"{name}": {json.dumps(asdict(item))}' for name, item in labels.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def load_labels(path: Path) -> dict[str, ClipLabels]:
    """Read what `save_labels` wrote."""
    return {
        name: ClipLabels(Labels(**item["streaming"]), Labels(**item["batch"]))
        for name, item in json.loads(path.read_text(encoding="utf-8")).items()
    }


def label_differences(expected: dict[str, ClipLabels], actual: dict[str, ClipLabels]) -> list[str]:
    """Return a sentence for every recording and model whose tokens or frames are not the expected ones."""
    found = [f"{name}: not among both" for name in sorted(expected.keys() ^ actual.keys())]
    for name in sorted(expected.keys() & actual.keys()):
        for mode in ("streaming", "batch"):
            wanted, got = getattr(expected[name], mode), getattr(actual[name], mode)
            if wanted != got:
                found.append(
                    f"{name}, {mode}: {len(got.tokens)} tokens, expected {len(wanted.tokens)}; "
                    f"the first {_agreeing(wanted, got)} agree in id and frame"
                )
    return found


def float_differences(expected: dict[str, ClipFloats], actual: dict[str, ClipFloats]) -> list[str]:
    """Return a sentence for every array that is farther than `TOLERANCE` from the expected one, or of another shape."""
    found = []
    for name in sorted(expected.keys() & actual.keys()):
        for array in ("streaming", "batch", "streaming_log_probs", "batch_log_probs"):
            wanted, got = getattr(expected[name], array), getattr(actual[name], array)
            if wanted.shape != got.shape:
                found.append(f"{name}, {array}: shape {got.shape}, expected {wanted.shape}")
                continue
            largest = float(np.abs(wanted - got).max(initial=0.0))
            if not largest <= TOLERANCE:
                found.append(f"{name}, {array}: differs by {largest:.2g}; at most {TOLERANCE:g} is allowed")
    return found


def _agreeing(one: Labels, other: Labels) -> int:
    """Length of the longest common beginning."""
    pairs = zip(zip(one.tokens, one.frames, strict=True), zip(other.tokens, other.frames, strict=True), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _front_end(layout: Layout, description: ModelDescription) -> LogMel:
    geometry = description.mel
    with np.load(layout.mels[0]) as arrays:
        return LogMel(
            filterbank=arrays["filterbank"],
            window=arrays["window"],
            n_fft=geometry.n_fft,
            hop_samples=geometry.hop_samples,
            preemphasis=geometry.preemphasis,
            log_guard=geometry.log_guard,
        )


def _greedy(
    joint: onnxruntime.InferenceSession, encoded: Float32, description: ModelDescription
) -> tuple[Labels, Float32]:
    """The textbook loop of Graves (2012), one frame and one label at a time: independent of the served search."""
    shape = description.transducer
    state = np.zeros((1, shape.prediction_layers, shape.prediction_hidden), np.float32)
    inputs: Arrays = {"STATE_H": state, "STATE_C": state, "TARGET": np.array([[shape.blank_id]], np.int32)}
    labels = Labels([], [])
    log_probs: list[float] = []
    for index, frame in enumerate(encoded):
        for _ in range(shape.max_symbols_per_step):
            outputs = run_graph(joint, {"ENCODED": frame[None, None], **inputs})
            label = outputs["LABEL"].item()
            if label == shape.blank_id:
                break
            labels.tokens.append(label)
            labels.frames.append(index)
            log_probs.append(outputs["LABEL_LOG_PROB"].item())
            inputs = {
                "STATE_H": outputs["STATE_H_NEXT"],
                "STATE_C": outputs["STATE_C_NEXT"],
                "TARGET": np.array([[label]], np.int32),
            }
    return labels, np.array(log_probs, np.float32)
