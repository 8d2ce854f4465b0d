"""The optimisation profile of every graph: least, usual and largest shape of each input, from the model's numbers."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.export.description import ModelDescription
from scripts.export.serving_options import ServingOptions

# A voice activity gate holds back so many samples, in whole chunks, and END brings them all (log_mel/vad_gate.py).
GATE_LOOK_AHEAD_SAMPLES = 5632

Shape = tuple[int, ...]


@dataclass(frozen=True)
class InputRange:
    """Shapes of one input, batch first.

    Attributes:
        least: the smallest that the engine accepts.
        usual: the one that it is tuned for, and that CUDA graphs are captured with.
        largest: the largest that it accepts.
    """

    least: Shape
    usual: Shape
    largest: Shape


Ranges = dict[str, InputRange]


def ranges(description: ModelDescription, options: ServingOptions) -> dict[str, Ranges]:
    """Return the shapes of every input, by model and input."""
    return {
        "encoder": _encoder(description, options),
        "encoder_batch": _encoder_batch(description, options),
        "decoder_joint": _decoder_joint(description, options),
    }


def _encoder(description: ModelDescription, options: ServingOptions) -> Ranges:
    """First and later chunks have one shape; END may be longer, and longest behind a voice activity gate."""
    streaming, shape = description.streaming, description.encoder
    held_back = -(-GATE_LOOK_AHEAD_SAMPLES // streaming.chunk_samples)
    longest = streaming.final_window_frames + held_back * streaming.chunk_frames
    n_mels = description.mel.n_mels
    return _batched(
        options.max_batch_size,
        {
            "FEATURES": ((n_mels, streaming.window_frames), (n_mels, streaming.window_frames), (n_mels, longest)),
            "FEATURES_LENGTH": ((1,),) * 3,
            "cache_channel": (shape.cache_channel,) * 3,
            "cache_len": ((1,),) * 3,
            "cache_time": (shape.cache_time,) * 3,
        },
    )


def _encoder_batch(description: ModelDescription, options: ServingOptions) -> Ranges:
    """From one mel frame to the longest utterance, tuned for a third of that."""
    n_mels, longest = description.mel.n_mels, description.mel.frames(options.max_audio_secs)
    return _batched(
        options.batch_max_batch_size,
        {"FEATURES": ((n_mels, 1), (n_mels, longest // 3), (n_mels, longest)), "FEATURES_LENGTH": ((1,),) * 3},
    )


def _decoder_joint(description: ModelDescription, options: ServingOptions) -> Ranges:
    """From the last frame of a chunk to the longest run of frames that a decoder sends, tuned for a chunk."""
    streaming, shape = description.streaming, description.transducer
    encoder_dim = description.encoder.encoder_dim
    state = (shape.prediction_layers, shape.prediction_hidden)
    longest = max(options.batch_joint_frames, streaming.encoder_frames)
    return _batched(
        options.joint_max_batch_size,
        {
            "ENCODED": ((1, encoder_dim), (streaming.encoder_frames, encoder_dim), (longest, encoder_dim)),
            "TARGET": ((1,),) * 3,
            "STATE_H": (state,) * 3,
            "STATE_C": (state,) * 3,
        },
    )


def _batched(largest_batch: int, inputs: dict[str, tuple[Shape, ...]]) -> Ranges:
    """Put the batch sizes 1, a quarter of the largest, and the largest before the other sizes."""
    usual_batch = max(1, largest_batch // 4)
    return {
        name: InputRange((1, *least), (usual_batch, *usual), (largest_batch, *largest))
        for name, (least, usual, largest) in inputs.items()
    }
