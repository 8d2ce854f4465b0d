"""A model repository's graphs in the files that sherpa-onnx takes for a NeMo streaming transducer.

    python -m scripts.peers.sherpa_files FOLDER [--model-repo model-repo]

Nothing is exported anew: the same nodes and weights, with sherpa-onnx's order of inputs, its layout of tensors, its cut
between prediction network and joiner, and the metadata that `OnlineTransducerNeMoModel` reads (sherpa-onnx 2.0).

Our graph masks the first `left_pad_frames` of a stream's first window, where sherpa-onnx has audio already. So a stream
has to begin with `lead_samples` of silence; then both see the same frames.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper
from onnx.utils import Extractor

from scripts.export.description import ModelDescription
from scripts.export.layout import Layout

ROOT = Path(__file__).resolve().parents[2]
_OPSET = 17
# kaldi-native-fbank with snip_edges=false: frame i is centred on sample 160 i + 80 and takes 200 on either side.
_HOP_SAMPLES, _LAST_SAMPLE = 160, 280
# Less than a window: what is left then has been answered, and no window of silence is computed.
_TAIL_SECS = 0.02
_PREDICTION, _LOGITS_OF = "/project_prediction/Gemm", "/LogSoftmax"


@dataclass(frozen=True)
class SherpaFiles:
    """What sherpa-onnx is started with.

    Attributes:
        tokens: pieces by id, the blank last.
        encoder: graph with caches.
        decoder: prediction network.
        joiner: joint.
        lead_samples: silence that a stream begins with.
        tail_secs: silence that it ends with.
        window_frames: feature frames to a call of the encoder.
        shift_frames: feature frames from one window to the next; a chunk.
        max_batch_size: most streams to a call of the encoder.
    """

    tokens: Path
    encoder: Path
    decoder: Path
    joiner: Path
    lead_samples: int
    tail_secs: float
    window_frames: int
    shift_frames: int
    max_batch_size: int

    @property
    def chunk_samples(self) -> int:
        """Samples from one window to the next."""
        return self.shift_frames * _HOP_SAMPLES

    def windows(self, samples: int) -> int:
        """Return how many windows sherpa-onnx has computed when it has so many samples and expects more."""
        frames = (samples - _LAST_SAMPLE) // _HOP_SAMPLES + 1
        return max(0, math.ceil((frames - self.window_frames) / self.shift_frames))


def write_sherpa_files(model_repo: Path, folder: Path) -> SherpaFiles:
    """Convert a repository that `make export` made.

    Raises:
        ValueError: the transducer has durations (TDT), for which sherpa-onnx has no streaming search.
    """
    layout = Layout(model_repo)
    description = ModelDescription.load(layout.description)
    if description.transducer.durations:
        raise ValueError("a transducer with durations cannot be streamed by sherpa-onnx")
    folder.mkdir(parents=True, exist_ok=True)
    pieces = (model_repo / "decoder" / "1" / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    lines = [f"{piece} {index}" for index, piece in enumerate([*pieces, "<blk>"])]
    (folder / "tokens.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    encoder = _encoder(onnx.load(layout.encoder), description)
    joint = onnx.shape_inference.infer_shapes(onnx.load(layout.decoder_joint))
    graphs = {"encoder": encoder, "decoder": _decoder(joint, description), "joiner": _joiner(joint, description)}
    for name, model in graphs.items():
        onnx.checker.check_model(model)
        onnx.save(model, folder / f"{name}.onnx")
    hop, streaming = description.mel.hop_samples, description.streaming
    return SherpaFiles(
        tokens=folder / "tokens.txt",
        encoder=folder / "encoder.onnx",
        decoder=folder / "decoder.onnx",
        joiner=folder / "joiner.onnx",
        # Its frame i is centred half a hop behind ours.
        lead_samples=streaming.left_pad_frames * hop + hop // 2,
        tail_secs=_TAIL_SECS,
        window_frames=streaming.window_frames,
        shift_frames=streaming.chunk_frames,
        max_batch_size=32,
    )


def _encoder(model: onnx.ModelProto, description: ModelDescription) -> onnx.ModelProto:
    graph, shape, streaming = model.graph, description.encoder, description.streaming
    inputs = {item.name: item for item in graph.input}
    outputs = {item.name: item for item in graph.output}
    length = helper.make_tensor_value_info("length", TensorProto.INT64, ["B"])
    cache_len = helper.make_tensor_value_info("cache_last_channel_len", TensorProto.INT64, ["B"])
    added = [
        _constant("columns", [1]),
        helper.make_node("Unsqueeze", ["length", "columns"], ["FEATURES_LENGTH"]),
        helper.make_node("Unsqueeze", ["cache_last_channel_len", "columns"], ["cache_len"]),
    ]
    after = [
        helper.make_node("Transpose", ["ENCODED"], ["outputs"], perm=[0, 2, 1]),
        helper.make_node("Squeeze", ["ENCODED_LENGTH", "columns"], ["encoded_lengths"]),
        helper.make_node("Squeeze", ["cache_len_next", "columns"], ["cache_last_channel_next_len"]),
    ]
    made = helper.make_graph(
        [*added, *graph.node, *after],
        "encoder",
        [inputs["FEATURES"], length, inputs["cache_channel"], inputs["cache_time"], cache_len],
        [
            helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["B", shape.encoder_dim, "T_encoded"]),
            helper.make_tensor_value_info("encoded_lengths", TensorProto.INT64, ["B"]),
            outputs["cache_channel_next"],
            outputs["cache_time_next"],
            helper.make_tensor_value_info("cache_last_channel_next_len", TensorProto.INT64, ["B"]),
        ],
        graph.initializer,
    )
    metadata = {
        "vocab_size": description.transducer.vocabulary_size,
        "window_size": streaming.window_frames,
        "chunk_shift": streaming.chunk_frames,
        "subsampling_factor": streaming.subsampling,
        "normalize_type": "NA",
        "pred_rnn_layers": description.transducer.prediction_layers,
        "pred_hidden": description.transducer.prediction_hidden,
        **{f"cache_last_channel_dim{index}": size for index, size in enumerate(shape.cache_channel, 1)},
        **{f"cache_last_time_dim{index}": size for index, size in enumerate(shape.cache_time, 1)},
    }
    return _model(made, {key: str(value) for key, value in metadata.items()})


def _decoder(joint: onnx.ModelProto, description: ModelDescription) -> onnx.ModelProto:
    """Prediction network, states [layers, 1, hidden] as sherpa-onnx keeps them for each stream."""
    prediction = _node(joint, _PREDICTION).output[0]
    part = Extractor(joint).extract_model(
        ["TARGET", "STATE_H", "STATE_C"], [prediction, "STATE_H_NEXT", "STATE_C_NEXT"]
    )
    layers, hidden = description.transducer.prediction_layers, description.transducer.prediction_hidden
    state = [layers, 1, hidden]
    before = [
        helper.make_node("Transpose", ["states"], ["STATE_H"], perm=[1, 0, 2]),
        helper.make_node("Transpose", ["cells"], ["STATE_C"], perm=[1, 0, 2]),
    ]
    after = [
        _constant("columns", [2]),
        helper.make_node("Unsqueeze", [prediction, "columns"], ["prediction"]),
        helper.make_node("Identity", ["target_length"], ["prediction_length"]),
        helper.make_node("Transpose", ["STATE_H_NEXT"], ["states_next"], perm=[1, 0, 2]),
        helper.make_node("Transpose", ["STATE_C_NEXT"], ["cells_next"], perm=[1, 0, 2]),
    ]
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        [*before, *part.graph.node, *after],
        "decoder",
        [
            info("TARGET", TensorProto.INT32, [1, 1]),
            info("target_length", TensorProto.INT32, [1]),
            info("states", TensorProto.FLOAT, state),
            info("cells", TensorProto.FLOAT, state),
        ],
        [
            info("prediction", TensorProto.FLOAT, [1, "J", 1]),
            info("prediction_length", TensorProto.INT32, [1]),
            info("states_next", TensorProto.FLOAT, state),
            info("cells_next", TensorProto.FLOAT, state),
        ],
        part.graph.initializer,
    )
    return _model(made, {})


def _joiner(joint: onnx.ModelProto, description: ModelDescription) -> onnx.ModelProto:
    """Joint of one frame and one prediction: [1, dim, 1] and [1, joint, 1] to [1, 1, 1, labels]."""
    prediction, logits = _node(joint, _PREDICTION).output[0], _node(joint, _LOGITS_OF).input[0]
    part = Extractor(joint).extract_model(["ENCODED", prediction], [logits])
    before = [
        helper.make_node("Transpose", ["encoded"], ["ENCODED"], perm=[0, 2, 1]),
        _constant("columns", [2]),
        helper.make_node("Squeeze", ["prediction", "columns"], [prediction]),
    ]
    after = [helper.make_node("Unsqueeze", [logits, "columns"], ["logits"])]
    info, labels = helper.make_tensor_value_info, description.transducer.vocabulary_size + 1
    made = helper.make_graph(
        [*before, *part.graph.node, *after],
        "joiner",
        [
            info("encoded", TensorProto.FLOAT, [1, description.encoder.encoder_dim, 1]),
            info("prediction", TensorProto.FLOAT, [1, "J", 1]),
        ],
        [info("logits", TensorProto.FLOAT, [1, 1, 1, labels])],
        part.graph.initializer,
    )
    return _model(made, {})


def _node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    for node in model.graph.node:
        if node.name == name:
            return node
    raise ValueError(f"decoder_joint has no node {name}")


def _constant(name: str, values: list[int]) -> onnx.NodeProto:
    tensor = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
    return helper.make_node("Constant", [], [name], value=tensor)


def _model(graph: onnx.GraphProto, metadata: dict[str, str]) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    helper.set_model_props(model, metadata)
    return model


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    arguments = parser.parse_args()
    files = write_sherpa_files(arguments.model_repo, arguments.folder)
    print(f"written to {arguments.folder}; streams begin with {files.lead_samples} samples of silence")


if __name__ == "__main__":
    main()
