"""The config.pbtxt of an imported repository: our own, but for the front end and the encoder."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import TensorProto
from tritonclient.grpc import model_config_pb2 as pb

from scripts.export.model_configs import MOST_HELD_BACK_SAMPLES, ModelConfigs
from scripts.export.triton_config import FP32, INT64, add_parameters, zero_state
from scripts.export.zipformer.files import State

# Streams of which each has a run of its own, handed over together: the last waits for all of them.
_STREAMS_ALONE = 8
# Streams that are worth a run of their own on another core: in runs of fewer, each costs more.
_STREAMS_PER_RUN = 4

_TYPES: dict[int, pb.DataType.ValueType] = {TensorProto.FLOAT: FP32, TensorProto.INT64: INT64}


@dataclass(frozen=True)
class ZipformerConfigs(ModelConfigs):
    """Renders the configurations of an imported Zipformer.

    Attributes:
        states: of the encoder.
        encoder_batch_size: most rows of a call of the streaming encoder.
        utterance_batch_size: most rows of a call of the encoder for whole utterances.
        tail_padding_samples: zeros that follow the last audio.
        has_tokenizer: whether the decoder can turn phrases into labels.
    """

    states: tuple[State, ...]
    encoder_batch_size: int
    utterance_batch_size: int
    tail_padding_samples: int
    has_tokenizer: bool

    def preprocessor(self) -> pb.ModelConfig:
        """AUDIO -> FEATURES, the windows that a chunk completes."""
        config = super().preprocessor()
        self._take_kaldi(config, "kaldi_streaming", ("chunk_samples", "max_concurrent_streams"))
        return config

    def preprocessor_batch(self) -> pb.ModelConfig:
        """AUDIO -> FEATURES of a whole utterance."""
        config = super().preprocessor_batch()
        self._take_kaldi(config, "kaldi_batch", ("max_audio_secs",))
        return config

    def encoder(self) -> pb.ModelConfig:
        """FEATURES -> ENCODED, as many states as the graph has."""
        config = super().encoder()
        del config.sequence_batching.state[:]
        config.sequence_batching.state.extend(
            zero_state(state.name, _TYPES[state.dtype], state.dims) for state in self.states
        )
        if self.encoder_batch_size == 1:
            config.max_batch_size = min(config.max_batch_size, _STREAMS_ALONE)
            config.parameters["streams_alone"].string_value = "true"
        else:
            config.max_batch_size = min(config.max_batch_size, self.encoder_batch_size)
            config.parameters["streams_per_run"].string_value = str(_STREAMS_PER_RUN)
        return config

    def encoder_batch(self) -> pb.ModelConfig:
        """FEATURES -> ENCODED of a whole utterance."""
        return self._limited(super().encoder_batch())

    def _window_limits(self) -> dict[str, str | float]:
        """A request has all the windows that its chunk completes, or none; END adds the padding."""
        mel, streaming = self.description.mel, self.description.streaming
        chunks = -(-MOST_HELD_BACK_SAMPLES // streaming.chunk_samples)
        samples = (2 + chunks) * streaming.chunk_samples + self.tail_padding_samples
        longest = streaming.window_frames + samples // mel.hop_samples + streaming.chunk_frames
        return {"min_frames": 0, "max_frames": longest}

    def decoder(self) -> pb.ModelConfig:
        """ENCODED -> the transcript so far."""
        return self._with_tokenizer(super().decoder())

    def decoder_batch(self) -> pb.ModelConfig:
        """ENCODED -> the transcript of a whole utterance."""
        return self._with_tokenizer(super().decoder_batch())

    def asr_streaming(self) -> pb.ModelConfig:
        """AUDIO -> transcript, chunk by chunk."""
        config = super().asr_streaming()
        config.max_batch_size = min(config.max_batch_size, self.encoder().max_batch_size)
        return config

    def asr_batch(self) -> pb.ModelConfig:
        """AUDIO -> transcript of a whole utterance."""
        return self._limited(super().asr_batch())

    def _with_tokenizer(self, config: pb.ModelConfig) -> pb.ModelConfig:
        if not self.has_tokenizer:
            del config.parameters["tokenizer"]
        return config

    def _limited(self, config: pb.ModelConfig) -> pb.ModelConfig:
        """An ensemble takes no more rows than each of its steps."""
        config.max_batch_size = min(config.max_batch_size, self.utterance_batch_size)
        return config

    def _take_kaldi(self, config: pb.ModelConfig, mode: str, kept: tuple[str, ...]) -> None:
        """Replace the parameters of NeMo's front end."""
        mel, streaming = self.description.mel, self.description.streaming
        values = {key: config.parameters[key].string_value for key in kept}
        config.parameters.clear()
        add_parameters(
            config,
            {
                "mode": mode,
                "sample_rate": mel.sample_rate,
                "n_mels": mel.n_mels,
                "window_frames": streaming.window_frames,
                "chunk_frames": streaming.chunk_frames,
                "tail_padding_samples": self.tail_padding_samples,
                **values,
            },
        )
