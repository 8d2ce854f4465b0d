"""Limits that an operator chooses, as opposed to what the checkpoint dictates. Defaults of the generated repository."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServingOptions:
    """What the configurations need besides the description of the model.

    Attributes:
        max_batch_size: streams to a call of a streaming model.
        batch_max_batch_size: utterances to a call of a batch model.
        max_concurrent_streams: live sequences; START of one more is refused.
        max_candidate_sequences: sequences Triton itself admits; well above, so that ours is the limit that is met.
        preprocessor_queue_delay_microseconds: how long a chunk waits at the first step for others to share its batch.
        encoder_queue_delay_microseconds: the same at the encoder; less, since what left a step together arrives
            together.
        decoder_queue_delay_microseconds: the same at the decoder.
        max_sequence_idle_microseconds: a sequence silent for longer is dropped.
        max_audio_secs: longest utterance of `asr_batch`.
        max_vad_audio_secs: longest recording of `vad`.
        max_total_tokens: most tokens to a sequence.
        max_beam_size: the largest beam that a stream may ask for.
        batch_joint_frames: encoder frames to a call of decoder_joint when decoding whole utterances.
        joint_max_batch_size: hypotheses to a call of decoder_joint; a beam search makes several calls of more.
        intra_op_threads: ONNX Runtime threads of each model.
    """

    max_batch_size: int = 32
    batch_max_batch_size: int = 8
    max_concurrent_streams: int = 256
    max_candidate_sequences: int = 1024
    preprocessor_queue_delay_microseconds: int = 1_000
    encoder_queue_delay_microseconds: int = 500
    decoder_queue_delay_microseconds: int = 300
    max_sequence_idle_microseconds: int = 60_000_000
    max_audio_secs: int = 30
    max_vad_audio_secs: int = 600
    max_total_tokens: int = 10_000
    max_beam_size: int = 16
    batch_joint_frames: int = 16
    joint_max_batch_size: int = 128
    intra_op_threads: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for a number below 1, or a limit of ours that Triton's would hide."""
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if self.joint_max_batch_size < self.max_batch_size:
            raise ValueError(
                f"joint_max_batch_size is {self.joint_max_batch_size}; it must be at least max_batch_size, "
                f"{self.max_batch_size}: the decoder asks for all its streams at once"
            )
        if self.max_candidate_sequences < self.max_concurrent_streams:
            raise ValueError(
                f"max_candidate_sequences is {self.max_candidate_sequences}; it must be at least "
                f"max_concurrent_streams, {self.max_concurrent_streams}"
            )

    def onnx_parameters(self) -> dict[str, str | float]:
        """Return what the backend onnx_sequence must know of every model."""
        return {"intra_op_threads": self.intra_op_threads, "allow_spinning": "0"}
