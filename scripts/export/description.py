"""What serving must know about a checkpoint. Every number is read from it (`reading.py`); none is typed by hand.

This module needs neither NeMo nor torch: the configurations are rendered from it, and tests read
`model-repo/description.json`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """Where the weights come from.

    Attributes:
        checkpoint: file name of the .nemo archive.
        sha256: of that file, hexadecimal.
        checkpoint_nemo_version: NeMo that wrote it.
        export_nemo_version: NeMo that read it.
        model_class, preprocessor_class, encoder_class, decoder_class, joint_class: Python class names.
    """

    checkpoint: str
    sha256: str
    checkpoint_nemo_version: str
    export_nemo_version: str
    model_class: str
    preprocessor_class: str
    encoder_class: str
    decoder_class: str
    joint_class: str


@dataclass(frozen=True)
class MelGeometry:
    """The log-mel front end (NeMo: `FilterbankFeatures`).

    Attributes:
        sample_rate: Hz.
        n_mels: mel bands.
        n_fft: FFT length, samples.
        window_samples: analysis window, samples.
        hop_samples: distance between frames, samples.
        preemphasis: coefficient a of y[t] = x[t] - a * x[t - 1].
        log_guard: added to the mel energies before the logarithm.
        normalisation: always "NA", none; anything else is refused.
    """

    sample_rate: int
    n_mels: int
    n_fft: int
    window_samples: int
    hop_samples: int
    preemphasis: float
    log_guard: float
    normalisation: str

    def frames(self, secs: float) -> int:
        """Return the mel frames of so much audio."""
        return int(secs * self.sample_rate) // self.hop_samples


@dataclass(frozen=True)
class StreamingGeometry:
    """How many frames go into an encoder step (NeMo: `encoder.streaming_cfg`) and come out of it.

    Attributes:
        att_context: left and right attention context, encoder frames.
        subsampling: mel frames to an encoder frame.
        chunk_frames: new mel frames of a later chunk.
        first_chunk_frames: new mel frames of the first chunk.
        pre_encode_cache_frames: mel frames repeated at the left of a later chunk.
        left_pad_frames: zero frames at the left of the first chunk, masked in the graph.
        window_frames: mel frames of every window.
        final_window_frames: mel frames of the longer window that END may need.
        drop_extra_pre_encoded: encoder frames dropped after subsampling.
        encoder_frames: encoder frames out of a window.
        final_encoder_frames: encoder frames out of a final window.
        chunk_samples: audio samples of a chunk.
    """

    att_context: tuple[int, int]
    subsampling: int
    chunk_frames: int
    first_chunk_frames: int
    pre_encode_cache_frames: int
    left_pad_frames: int
    window_frames: int
    final_window_frames: int
    drop_extra_pre_encoded: int
    encoder_frames: int
    final_encoder_frames: int
    chunk_samples: int

    @property
    def second_left_pad_frames(self) -> int:
        """Zero frames at the left of the second chunk, where the first is shorter than what is repeated of it."""
        return max(0, self.pre_encode_cache_frames - self.first_chunk_frames)

    @classmethod
    def of_chunks(
        cls,
        *,
        att_context: tuple[int, int],
        subsampling: int,
        chunk_frames: int,
        first_chunk_frames: int,
        pre_encode_cache_frames: int,
        drop_extra_pre_encoded: int,
        hop_samples: int,
    ) -> StreamingGeometry:
        """Derive the other numbers from those of the checkpoint.

        Raises:
            ValueError: the left padding of a first chunk is not what the graph drops, or a chunk is not a whole
                number of encoder frames.
        """
        lag = chunk_frames - first_chunk_frames
        left_pad_frames = pre_encode_cache_frames + lag
        if left_pad_frames != drop_extra_pre_encoded * subsampling:
            raise ValueError(
                f"the first chunk lacks {left_pad_frames} mel frames, but {drop_extra_pre_encoded} encoder frames of "
                f"{subsampling} mel frames are dropped: one window shape cannot serve all chunks"
            )
        if chunk_frames % subsampling or chunk_frames // subsampling != att_context[1] + 1:
            raise ValueError(
                f"a chunk of {chunk_frames} mel frames is not the {att_context[1] + 1} encoder frames of the attention "
                f"context at {subsampling} mel frames each"
            )
        return cls(
            att_context=att_context,
            subsampling=subsampling,
            chunk_frames=chunk_frames,
            first_chunk_frames=first_chunk_frames,
            pre_encode_cache_frames=pre_encode_cache_frames,
            left_pad_frames=left_pad_frames,
            window_frames=pre_encode_cache_frames + chunk_frames,
            final_window_frames=pre_encode_cache_frames + chunk_frames + lag,
            drop_extra_pre_encoded=drop_extra_pre_encoded,
            encoder_frames=chunk_frames // subsampling,
            # All the lag is less than one encoder frame, so END has at most one more.
            final_encoder_frames=chunk_frames // subsampling + 1,
            chunk_samples=chunk_frames * hop_samples,
        )


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of the encoder and of its caches.

    Attributes:
        layers: Conformer layers.
        model_dim: width of the layers and of the caches.
        encoder_dim: width of ENCODED, after the output projection where there is one.
        left_context: encoder frames in the attention cache.
        convolution_context: encoder frames in the convolution cache, kernel - 1.
    """

    layers: int
    model_dim: int
    encoder_dim: int
    left_context: int
    convolution_context: int

    @property
    def cache_channel(self) -> tuple[int, int, int]:
        """Shape of cache_channel without the batch dimension."""
        return self.layers, self.left_context, self.model_dim

    @property
    def cache_time(self) -> tuple[int, int, int]:
        """Shape of cache_time without the batch dimension."""
        return self.layers, self.model_dim, self.convolution_context


@dataclass(frozen=True)
class TransducerShape:
    """Sizes of the prediction network and the joint.

    Attributes:
        prediction_layers: LSTM layers.
        prediction_hidden: LSTM width.
        vocabulary_size: labels, the blank not counted.
        blank_id: id of the blank, always `vocabulary_size`.
        max_symbols_per_step: most labels to an encoder frame when the checkpoint was evaluated.
        durations: encoder frames that the joint may advance by (TDT); empty for a plain transducer.
    """

    prediction_layers: int
    prediction_hidden: int
    vocabulary_size: int
    blank_id: int
    max_symbols_per_step: int
    durations: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModelDescription:
    """Everything that the configurations are rendered from."""

    source: Source
    mel: MelGeometry
    streaming: StreamingGeometry
    encoder: EncoderShape
    transducer: TransducerShape

    @property
    def frame_secs(self) -> float:
        """Seconds of audio to an encoder frame."""
        return self.streaming.subsampling * self.mel.hop_samples / self.mel.sample_rate

    def save(self, path: Path) -> None:
        """Write as JSON, the same text every time."""
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> ModelDescription:
        """Read what `save` wrote. Raises TypeError for a missing or unknown field."""
        data: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        transducer = data["transducer"]
        streaming = {**data["streaming"], "att_context": tuple(data["streaming"]["att_context"])}
        return cls(
            source=Source(**data["source"]),
            mel=MelGeometry(**data["mel"]),
            streaming=StreamingGeometry(**streaming),
            encoder=EncoderShape(**data["encoder"]),
            transducer=TransducerShape(**{**transducer, "durations": tuple(transducer.get("durations", ()))}),
        )
