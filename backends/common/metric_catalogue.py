"""Every metric that the backends add to Triton's own, in one place: names, units, labels, help.

`docs/observability.md` lists them, and a test holds the page, this table and a running server against each other.
All of them also have the label `model`, which says whose they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

# Causes for which a sequence ends.
END, ERROR, IDLE, REPLACED = "end", "error", "idle", "replaced"
# Kinds of refusals, which a caller may try again later.
FULL, RATE, OVERLOADED, STOPPING = "full", "rate", "overloaded", "stopping"
_BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_RESPONSE_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SPEECH_SECONDS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)


@dataclass(frozen=True)
class Metric:
    """One metric family.

    Attributes:
        name: base units, counters with `_total`.
        kind: as Prometheus has them.
        text: what it counts or shows.
        label: name of the label besides `model`; None for none.
        values: all values of that label. Their series exist from the start, at zero.
        buckets: upper bounds of a histogram.
    """

    name: str
    kind: Kind
    text: str
    label: str | None = None
    values: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# Of every model that runs in one of our backends.
EXECUTE_SECONDS = Metric(
    "amira_execute_seconds_total", "counter", "Wall time spent answering batches, calls of other models included"
)
BATCH_SIZE = Metric(
    "amira_batch_size", "histogram", "Chunks answered together in one call of a streaming model", buckets=_BATCH_SIZES
)
ERRORS = Metric(
    "amira_errors_total",
    "counter",
    "Requests answered with an error: request and sequence are the caller's; full, rate, overloaded and stopping are"
    " refusals to try again later; internal is a defect",
    "kind",
    ("request", "sequence", FULL, RATE, OVERLOADED, STOPPING, "internal"),
)
CPU_SECONDS = Metric("amira_cpu_seconds_total", "counter", "Processor time of the model's process")
MEMORY_BYTES = Metric("amira_resident_memory_bytes", "gauge", "Resident memory of the model's process")

# Of the first step of a streaming pipeline.
STREAMS_LIVE = Metric("amira_streams_live", "gauge", "Streams that the preprocessor holds")
STREAMS_LIMIT = Metric("amira_streams_limit", "gauge", "Streams that the server admits at once")
STREAMS_STARTED = Metric("amira_streams_started_total", "counter", "Streams admitted")
STREAMS_ENDED = Metric(
    "amira_streams_ended_total",
    "counter",
    "Streams that ended: by END, by END after an error, idle for too long, or replaced by a START of the same ID",
    "cause",
    (END, ERROR, IDLE, REPLACED),
)
STREAMS_REFUSED = Metric(
    "amira_streams_refused_total",
    "counter",
    "STARTs refused, to be tried again later",
    "reason",
    (FULL, RATE, OVERLOADED, STOPPING),
)
CHUNKS = Metric("amira_chunks_total", "counter", "Chunks of audio accepted")
AUDIO_SECONDS = Metric("amira_audio_seconds_total", "counter", "Audio accepted, of streams and whole utterances")

SERVER_RESTARTS = Metric(
    "amira_server_restarts",
    "gauge",
    "Restarts of the server since its launcher was started: it ended, a backend process died, or it hung",
    "cause",
    ("exited", "backend_died", "hung"),
)

# Of the encoder, where it keeps its caches itself (backend onnx_sequence).
CACHE_SLOTS = Metric(
    "amira_cache_slots", "gauge", "Cache slots allocated; on a processor they double when all are used"
)
CACHE_SLOTS_USED = Metric("amira_cache_slots_used", "gauge", "Cache slots that belong to a sequence")

# Of the decoder.
LABELS = Metric("amira_labels_total", "counter", "Labels recognised that will not change any more")
JOINT_CALLS = Metric("amira_joint_calls_total", "counter", "Calls of the models decoder_greedy and decoder_joint")
JOINT_ROWS = Metric("amira_joint_rows_total", "counter", "Rows, one a hypothesis, of those calls")
JOINT_SECONDS = Metric("amira_joint_seconds_total", "counter", "Wall time of those calls")
SEGMENTS = Metric(
    "amira_segments_total",
    "counter",
    "Segments that ended, by endpointing rule",
    "rule",
    ("end", "finalize", "silence", "no_speech", "length"),
)
FIRST_PARTIAL_SECONDS = Metric(
    "amira_first_partial_seconds",
    "histogram",
    "From a stream's START to its first answer with text, the time before speech included",
    buckets=_SPEECH_SECONDS,
)
FINAL_SECONDS = Metric(
    "amira_final_seconds",
    "histogram",
    "From the arrival of a stream's END in the preprocessor to its final answer",
    buckets=_RESPONSE_SECONDS,
)

# Of whole-utterance pipelines: their difference is inside.
UTTERANCES_ACCEPTED = Metric("amira_utterances_accepted_total", "counter", "Whole-utterance requests accepted")
UTTERANCES_ANSWERED = Metric("amira_utterances_answered_total", "counter", "Whole-utterance requests answered")

# Of the voice activity detector: their quotient is the speech ratio.
VAD_SPEECH_SECONDS = Metric(
    "amira_vad_speech_seconds_total", "counter", "Audio in which the voice activity detector heard speech"
)
VAD_AUDIO_SECONDS = Metric(
    "amira_vad_audio_seconds_total", "counter", "Audio that the voice activity detector listened to"
)

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
