"""The config.pbtxt of every model, and its twin in each GPU profile, rendered from a `ModelDescription`."""

from __future__ import annotations

from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2 as pb

from scripts.export import joint_configs
from scripts.export.description import ModelDescription
from scripts.export.profiles import PROFILES, gpu_config
from scripts.export.serving_options import ServingOptions
from scripts.export.triton_config import (
    BOOL,
    FP32,
    INT32,
    INT64,
    STRING,
    add_parameters,
    cpu_model,
    ensemble_step,
    oldest_sequences,
    tensor_input,
    tensor_output,
    zero_state,
)

# What the decoders and the ensembles answer: name, data type, sizes.
_TRANSCRIPT = (
    ("TRANSCRIPT", STRING, [1]),
    ("IS_FINAL", BOOL, [1]),
    ("TOKENS", INT32, [-1]),
    ("TOKEN_TEXTS", STRING, [-1]),
    ("TOKEN_TIMES", FP32, [-1]),
    ("TOKEN_LOG_PROBS", FP32, [-1]),
    ("TOKEN_CONFIDENCES", FP32, [-1]),
    ("STABLE_TOKENS", INT32, [1]),
    ("WORDS", STRING, [-1]),
    ("WORD_TIMES", FP32, [-1, 2]),
    ("WORD_CONFIDENCES", FP32, [-1]),
    ("SEGMENT_ENDS", INT32, [-1]),
    ("ENDPOINTS", STRING, [-1]),
    ("N_BEST", STRING, [-1]),
    ("N_BEST_SCORES", FP32, [-1]),
    ("AUDIO_PROCESSED", FP32, [1]),
)

# A voice activity gate holds chunks back until so much has been heard after them (backends/log_mel/vad_gate.py).
MOST_HELD_BACK_SAMPLES = 5632


@dataclass(frozen=True)
class ModelConfigs:
    """Renders the configurations of one model repository."""

    description: ModelDescription
    options: ServingOptions

    def all(self) -> list[pb.ModelConfig]:
        """Return the configurations of all models, the streaming ones first."""
        return [
            self.preprocessor(),
            self.encoder(),
            self.decoder(),
            self.asr_streaming(),
            self.preprocessor_batch(),
            self.encoder_batch(),
            self.decoder_batch(),
            self.asr_batch(),
            *self._joint_models(),
            self.vad(),
        ]

    def profiles(self) -> dict[str, list[pb.ModelConfig]]:
        """Return the configurations that a GPU profile replaces, by the profile's name."""
        streaming = self.description.streaming
        models = (
            (self.encoder(), {"FEATURES": streaming.window_frames}),
            (self.encoder_batch(), {"FEATURES": self.description.mel.frames(self.options.max_audio_secs)}),
            (self.decoder_joint(), {"ENCODED": streaming.encoder_frames}),
        )
        return {profile.name: [gpu_config(config, profile, sizes) for config, sizes in models] for profile in PROFILES}

    def preprocessor(self) -> pb.ModelConfig:
        """AUDIO -> FEATURES, one encoder window a chunk."""
        streaming = self.description.streaming
        config = self._sequence_model("preprocessor", "log_mel", self.options.preprocessor_queue_delay_microseconds)
        self._add_preprocessor_tensors(config)
        add_parameters(
            config,
            {
                "mode": "streaming",
                **self._mel_parameters(),
                "chunk_frames": streaming.chunk_frames,
                "first_chunk_frames": streaming.first_chunk_frames,
                "pre_encode_cache_frames": streaming.pre_encode_cache_frames,
                "left_pad_frames": streaming.left_pad_frames,
                "window_frames": streaming.window_frames,
                "final_window_frames": streaming.final_window_frames,
                "chunk_samples": streaming.chunk_samples,
                "max_concurrent_streams": self.options.max_concurrent_streams,
            },
        )
        return config

    def preprocessor_batch(self) -> pb.ModelConfig:
        """AUDIO -> FEATURES of a whole utterance."""
        config = self._batch_model("preprocessor_batch", "log_mel")
        self._add_preprocessor_tensors(config)
        add_parameters(
            config, {"mode": "batch", **self._mel_parameters(), "max_audio_secs": self.options.max_audio_secs}
        )
        return config

    def encoder(self) -> pb.ModelConfig:
        """FEATURES -> ENCODED, its caches as state. State names sort alike on both sides: Triton pairs them so."""
        shape = self.description.encoder
        states = [
            zero_state("cache_channel", FP32, shape.cache_channel),
            zero_state("cache_len", INT64, (1,)),
            zero_state("cache_time", FP32, shape.cache_time),
        ]
        config = self._sequence_model("encoder", "onnx_sequence", self.options.encoder_queue_delay_microseconds, states)
        self._add_encoder_tensors(config)
        limits = {**self._window_limits(), "max_concurrent_streams": self.options.max_concurrent_streams}
        add_parameters(config, {**self.options.onnx_parameters(), **limits})
        return config

    def encoder_batch(self) -> pb.ModelConfig:
        """FEATURES -> ENCODED of a whole utterance."""
        config = self._batch_model("encoder_batch", "onnx_sequence")
        self._add_encoder_tensors(config)
        mel = self.description.mel
        limits = {"max_audio_secs": self.options.max_audio_secs, "frame_secs": mel.hop_samples / mel.sample_rate}
        add_parameters(config, {**self.options.onnx_parameters(), **limits})
        return config

    def _joint_models(self) -> list[pb.ModelConfig]:
        joint = self.decoder_joint()
        return [joint] if self.description.transducer.durations else [joint, joint_configs.decoder_greedy(joint)]

    def decoder_joint(self) -> pb.ModelConfig:
        """Prediction network and joint, for the decoders."""
        return joint_configs.decoder_joint(self.description, self.options, longest_run=self._longest_run())

    def vad(self) -> pb.ModelConfig:
        """AUDIO -> where in a recording there is speech. Its graph does not come from the checkpoint."""
        config = self._batch_model("vad", "silero_vad")
        config.input.append(tensor_input("AUDIO", FP32, [-1], ragged=True))
        config.output.extend(
            [tensor_output("SPEECH_PROBABILITY", FP32, [-1]), tensor_output("SEGMENTS", FP32, [-1, 2])]
        )
        add_parameters(config, {"max_vad_audio_secs": self.options.max_vad_audio_secs})
        return config

    def decoder(self) -> pb.ModelConfig:
        """ENCODED -> the transcript so far."""
        config = self._sequence_model("decoder", "rnnt_decoder", self.options.decoder_queue_delay_microseconds)
        self._add_decoder(config, joint_frames=self.description.streaming.encoder_frames)
        add_parameters(
            config,
            {"max_frames": self._longest_run(), "max_concurrent_streams": self.options.max_concurrent_streams},
        )
        return config

    def decoder_batch(self) -> pb.ModelConfig:
        """ENCODED -> the transcript of a whole utterance."""
        config = self._batch_model("decoder_batch", "rnnt_decoder")
        self._add_decoder(config, joint_frames=self.options.batch_joint_frames)
        add_parameters(config, {"max_audio_secs": self.options.max_audio_secs})
        return config

    def asr_streaming(self) -> pb.ModelConfig:
        """AUDIO -> transcript, chunk by chunk."""
        return self._ensemble("asr_streaming", "", self.options.max_batch_size)

    def asr_batch(self) -> pb.ModelConfig:
        """AUDIO -> transcript of a whole utterance."""
        config = self._ensemble("asr_batch", "_batch", self.options.batch_max_batch_size)
        add_parameters(config, {"max_audio_secs": self.options.max_audio_secs})
        return config

    def _sequence_model(
        self,
        name: str,
        backend: str,
        queue_delay_microseconds: int,
        states: list[pb.ModelSequenceBatching.State] | None = None,
    ) -> pb.ModelConfig:
        config = cpu_model(name, backend, self.options.max_batch_size)
        config.sequence_batching.CopyFrom(
            oldest_sequences(
                max_candidate_sequences=self.options.max_candidate_sequences,
                max_queue_delay_microseconds=queue_delay_microseconds,
                max_sequence_idle_microseconds=self.options.max_sequence_idle_microseconds,
                states=states or [],
            )
        )
        return config

    def _batch_model(self, name: str, backend: str) -> pb.ModelConfig:
        config = cpu_model(name, backend, self.options.batch_max_batch_size)
        config.dynamic_batching.CopyFrom(pb.ModelDynamicBatching())
        return config

    def _add_preprocessor_tensors(self, config: pb.ModelConfig) -> None:
        config.input.append(tensor_input("AUDIO", FP32, [-1], ragged=True))
        config.output.extend(
            [
                tensor_output("FEATURES", FP32, [self.description.mel.n_mels, -1]),
                tensor_output("FEATURES_LENGTH", INT64, [1]),
            ]
        )

    def _add_encoder_tensors(self, config: pb.ModelConfig) -> None:
        config.input.extend(
            [
                tensor_input("FEATURES", FP32, [self.description.mel.n_mels, -1], ragged=True),
                tensor_input("FEATURES_LENGTH", INT64, [1]),
            ]
        )
        config.output.extend(
            [
                tensor_output("ENCODED", FP32, [-1, self.description.encoder.encoder_dim]),
                tensor_output("ENCODED_LENGTH", INT64, [1]),
            ]
        )

    def _add_decoder(self, config: pb.ModelConfig, *, joint_frames: int) -> None:
        shape, encoder_dim = self.description.transducer, self.description.encoder.encoder_dim
        config.input.extend(
            [
                tensor_input("ENCODED", FP32, [-1, encoder_dim], ragged=True),
                tensor_input("ENCODED_LENGTH", INT64, [1]),
            ]
        )
        config.output.extend(tensor_output(*output) for output in _TRANSCRIPT)
        add_parameters(
            config,
            {
                "decoder_joint_model": "decoder_joint",
                "joint": "model",
                "vocabulary": "vocabulary.txt",
                "tokenizer": "tokenizer.model",
                "durations": "true" if shape.durations else "false",
                "max_beam_size": self.options.max_beam_size,
                "blank_id": shape.blank_id,
                "prediction_layers": shape.prediction_layers,
                "prediction_hidden": shape.prediction_hidden,
                "encoder_dim": encoder_dim,
                "frame_secs": self.description.frame_secs,
                "joint_window_frames": joint_frames,
                "joint_max_batch_size": self.options.joint_max_batch_size,
                "max_symbols_per_step": shape.max_symbols_per_step,
                "max_total_tokens": self.options.max_total_tokens,
            },
        )
        if not shape.durations:
            add_parameters(config, {"decoder_greedy_model": "decoder_greedy"})

    def _ensemble(self, name: str, suffix: str, max_batch_size: int) -> pb.ModelConfig:
        config = pb.ModelConfig(name=name, platform="ensemble", max_batch_size=max_batch_size)
        config.input.append(tensor_input("AUDIO", FP32, [-1]))
        config.output.extend(tensor_output(*output) for output in _TRANSCRIPT)
        features = _same("FEATURES", "FEATURES_LENGTH")
        encoded = _same("ENCODED", "ENCODED_LENGTH")
        transcript = _same(*(output_name for output_name, _, _ in _TRANSCRIPT))
        config.ensemble_scheduling.step.extend(
            [
                ensemble_step(f"preprocessor{suffix}", _same("AUDIO"), features),
                ensemble_step(f"encoder{suffix}", features, encoded),
                ensemble_step(f"decoder{suffix}", encoded, transcript),
            ]
        )
        add_parameters(
            config,
            {
                "sample_rate": self.description.mel.sample_rate,
                "chunk_samples": self.description.streaming.chunk_samples,
                "frame_secs": self.description.frame_secs,
            },
        )
        return config

    def _mel_parameters(self) -> dict[str, str | float]:
        mel = self.description.mel
        return {
            "sample_rate": mel.sample_rate,
            "n_fft": mel.n_fft,
            "window_samples": mel.window_samples,
            "hop_samples": mel.hop_samples,
            "preemphasis": mel.preemphasis,
            "log_guard": mel.log_guard,
        }

    def _window_limits(self) -> dict[str, str | float]:
        """Mel frames of a request of the streaming encoder."""
        streaming = self.description.streaming
        chunks = -(-MOST_HELD_BACK_SAMPLES // streaming.chunk_samples)
        longest = streaming.final_window_frames + chunks * streaming.chunk_frames
        return {"min_frames": streaming.window_frames, "max_frames": longest}

    def _longest_run(self) -> int:
        """Most encoder frames that a decoder gets, or asks decoder_joint about, in one request."""
        longest = int(self._window_limits()["max_frames"])
        return max(longest // self.description.streaming.subsampling + 1, self.options.batch_joint_frames)


def _same(*names: str) -> dict[str, str]:
    """Map names to themselves: the ensemble calls its tensors what the models call them."""
    return {name: name for name in names}
