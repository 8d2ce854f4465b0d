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
from rnnt_decoder.decoder import Chunk, Decoder
from rnnt_decoder.local_joint import local_joint
from rnnt_decoder.options import Parameters
from rnnt_decoder.stream import Stream

# Of one stream: mel, encoder slot, decoder.
State = tuple[StreamState, int, Stream]


class RawPipeline:
    """Batched streaming recognition with the weights and numbers of a model repository."""

    def __init__(self, model_repo: Path, threads: int = 1, *, fuse_quantisers: bool = True) -> None:
        """Load everything.

        Args:
            model_repo: the repository that the server serves.
            threads: ONNX Runtime threads of the encoder.
            fuse_quantisers: of the encoder, as `OnnxSession` has it.
        """
        mel, encoder, decoder = (read_config(model_repo / name) for name in ("preprocessor", "encoder", "decoder"))
        transform = LogMel.configured(mel, model_repo / "preprocessor" / "1")
        self._streaming = StreamingLogMel(transform, WindowGeometry.configured(mel))
        self.chunk_samples = self._streaming.geometry.chunk_samples
        states = parse_states(encoder.raw)
        self._slots = CacheSlots(states)
        self._encoder_outputs = ["ENCODED", "ENCODED_LENGTH", *(state.output_name for state in states)]
        self._encoder = _session(model_repo / "encoder", threads, fuse_quantisers=fuse_quantisers)
        greedy = decoder.optional_text("decoder_greedy_model")
        self.joint = local_joint(
            model_repo / decoder.text("decoder_joint_model") / "1" / "model.onnx",
            None if greedy is None else model_repo / greedy / "1" / "model.onnx",
        )
        self.decoder = Decoder.configured(decoder, model_repo / "decoder" / "1")

    def open(self, parameters: Parameters | None = None) -> State:
        """Return the state of a new stream that asks the decoder for something, or for nothing."""
        stream = self.decoder.new_stream()
        self.decoder.prepare(stream, parameters or {}, start=True)
        return self._streaming.new_state(), self._slots.acquire(), stream

    def close(self, stream: State) -> None:
        """Free a stream's encoder slot."""
        self._slots.release(stream[1])

    def step(self, streams: list[State], chunks: list[Float32], *, end: bool) -> None:
        """Advance every stream by one chunk, all in one batch."""
        self.decode(streams, self.encode(streams, chunks, end=end), end=end)

    def encode(self, streams: list[State], chunks: list[Float32], *, end: bool) -> list[Float32]:
        """Return the encoder frames of one chunk of every stream, [frames, dim] each."""
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
        lengths = outputs["ENCODED_LENGTH"][:, 0]
        return [encoded[:length] for encoded, length in zip(outputs["ENCODED"], lengths, strict=True)]

    def decode(self, streams: list[State], encoded: list[Float32], *, end: bool) -> None:
        """Search the encoder frames of one chunk of every stream."""
        pairs = zip(streams, encoded, strict=True)
        self.decoder.decode([Chunk(stream[2], piece, finalize=False, end=end) for stream, piece in pairs], self.joint)


def read_config(model: Path) -> ModelConfig:
    """Return a model's config.pbtxt as its backend sees it."""
    config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    return ModelConfig(json_format.MessageToJson(config, preserving_proto_field_name=True))


def _session(model: Path, threads: int, *, fuse_quantisers: bool) -> OnnxSession:
    graph = model / "1" / "model.onnx"
    return OnnxSession(graph, intra_op_threads=threads, allow_spinning=False, fuse_quantisers=fuse_quantisers)
