"""The same computation without Triton: mel, encoder and decoder in one process, one thread.

What is left when the server's work is subtracted: the bench compares the server with this.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from common.parameters import ModelConfig
from log_mel.mel import Float32, LogMel
from log_mel.streaming import StreamingLogMel, StreamState, WindowGeometry
from onnx_sequence.caches import Array, CacheSlots, parse_states
from onnx_sequence.session import OnnxSession
from rnnt_decoder.greedy import GreedySearch, Int32, JointOutput
from rnnt_decoder.hypothesis import Hypothesis, PredictionShape


class RawPipeline:
    """Batched streaming recognition with the weights and numbers of a model repository."""

    def __init__(self, model_repo: Path, threads: int = 1) -> None:
        """Load everything.

        Args:
            model_repo: the repository that the server serves.
            threads: ONNX Runtime threads of the encoder.
        """
        mel, encoder, decoder = (read_config(model_repo / name) for name in ("preprocessor", "encoder", "decoder"))
        transform = LogMel.configured(mel, model_repo / "preprocessor" / "1")
        self._streaming = StreamingLogMel(transform, WindowGeometry.configured(mel))
        self.chunk_samples = self._streaming.geometry.chunk_samples
        states = parse_states(encoder.raw)
        self._slots = CacheSlots(states)
        self._encoder_outputs = ["ENCODED", "ENCODED_LENGTH", *(state.output_name for state in states)]
        self._encoder = _session(model_repo / "encoder", threads)
        self._joint_session = _session(model_repo / decoder.text("decoder_joint_model"), 1)
        self._shape = PredictionShape.configured(decoder)
        self._search = GreedySearch.configured(decoder)

    def open(self) -> tuple[StreamState, int, Hypothesis]:
        """Return the state of a new stream: mel, encoder slot, hypothesis."""
        return self._streaming.new_state(), self._slots.acquire(), self._shape.new_hypothesis()

    def close(self, stream: tuple[StreamState, int, Hypothesis]) -> None:
        """Free a stream's encoder slot."""
        self._slots.release(stream[1])

    def step(self, streams: list[tuple[StreamState, int, Hypothesis]], chunks: list[Float32], *, end: bool) -> None:
        """Advance every stream by one chunk, all in one batch."""
        frames = [self._streaming.accept(s[0], chunk, end=end) for s, chunk in zip(streams, chunks, strict=True)]
        features = self._streaming.mel.features(np.concatenate(frames))
        parts = np.split(features, np.cumsum([len(part) for part in frames])[:-1])
        windows = [self._streaming.complete(s[0], part, end=end) for s, part in zip(streams, parts, strict=True)]
        slots = [stream[1] for stream in streams]
        inputs: dict[str, Array] = {
            "FEATURES": np.ascontiguousarray(np.stack([window.features for window in windows]).transpose(0, 2, 1)),
            "FEATURES_LENGTH": np.array([[window.length] for window in windows], np.int64),
        }
        outputs = self._encoder.run({**inputs, **self._slots.gather(slots)}, self._encoder_outputs)
        self._slots.scatter(slots, outputs)
        hypotheses = [stream[2] for stream in streams]
        self._search(outputs["ENCODED"], outputs["ENCODED_LENGTH"][:, 0], hypotheses, self._joint)

    def _joint(self, encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32) -> JointOutput:
        inputs: dict[str, Array] = {"ENCODED": encoded, "TARGET": targets, "STATE_H": state_h, "STATE_C": state_c}
        names = ["LABEL", "LABEL_LOG_PROB", "STATE_H_NEXT", "STATE_C_NEXT"]
        outputs = self._joint_session.run(inputs, names)
        return JointOutput(*(outputs[name] for name in names))


def read_config(model: Path) -> ModelConfig:
    """Return a model's config.pbtxt as its backend sees it."""
    config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    return ModelConfig(json_format.MessageToJson(config, preserving_proto_field_name=True))


def _session(model: Path, threads: int) -> OnnxSession:
    return OnnxSession(model / "1" / "model.onnx", intra_op_threads=threads, allow_spinning=False)
