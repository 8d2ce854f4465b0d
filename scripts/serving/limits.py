"""Limits of what the server admits, written into the configurations that its first steps read."""

from __future__ import annotations

from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2 as pb

_PREPROCESSOR, _DETECTOR, _ENCODER, _DECODER = "log_mel", "silero_vad", "onnx_sequence", "rnnt_decoder"
# A START that a step refuses holds a candidate place all the same, until its client sends END or the idle limit
# passes; without a free place the next one would wait in silence. Some 700 bytes each.
_CANDIDATES = 32_768
# Utterances wait here only until the preprocessor has looked at them; it refuses with a better message than Triton.
_QUEUE_OF_FIRST_STEP = 4


@dataclass(frozen=True)
class Limits:
    """None for no limit.

    Attributes:
        max_concurrent_batches: whole utterances inside a pipeline at once.
        max_stream_secs: audio of one stream, seconds.
        max_streams_per_client: live streams with one client key.
        rate_limit: starts of each client key, as "30/minute".
        max_parameter_bytes: JSON text of the parameters of one request.
    """

    max_concurrent_batches: int | None = None
    max_stream_secs: float | None = None
    max_streams_per_client: int | None = None
    rate_limit: str | None = None
    max_parameter_bytes: int | None = None


NO_LIMITS = Limits()


def apply_limits(config: pb.ModelConfig, limits: Limits, pipeline: str) -> None:
    """Write limits into one model's configuration.

    Args:
        config: as exported, changed in place.
        limits: of the deployment.
        pipeline: by which the two ends of a pipeline for whole utterances know each other.
    """
    is_batch = config.name.endswith("_batch")
    first = config.backend in (_PREPROCESSOR, _DETECTOR)
    if first:
        _add(config, "rate_limit", limits.rate_limit)
        _add(config, "max_parameter_bytes", limits.max_parameter_bytes)
    if config.backend == _PREPROCESSOR and config.HasField("sequence_batching"):
        _add(config, "max_stream_secs", limits.max_stream_secs)
        _add(config, "max_streams_per_client", limits.max_streams_per_client)
    if config.backend in (_PREPROCESSOR, _ENCODER, _DECODER) and config.HasField("sequence_batching"):
        config.sequence_batching.oldest.max_candidate_sequences = max(
            config.sequence_batching.oldest.max_candidate_sequences, _CANDIDATES
        )
    if limits.max_concurrent_batches is None:
        return
    if is_batch and config.backend in (_PREPROCESSOR, _DECODER):
        _add(config, "pipeline", pipeline)
        _add(config, "max_concurrent_batches", limits.max_concurrent_batches)
    if config.HasField("dynamic_batching") and (is_batch or first):
        times = _QUEUE_OF_FIRST_STEP if first else 1
        config.dynamic_batching.default_queue_policy.max_queue_size = times * limits.max_concurrent_batches


def _add(config: pb.ModelConfig, key: str, value: str | float | None) -> None:
    if value is not None:
        config.parameters[key].string_value = f"{value:g}" if isinstance(value, float) else str(value)
