"""From a .nemo checkpoint to a loaded model and its `ModelDescription`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import nemo
import torch
from nemo.collections.asr.models import ASRModel

from scripts.export.description import (
    EncoderShape,
    MelGeometry,
    ModelDescription,
    Source,
    StreamingGeometry,
    TransducerShape,
)
from scripts.export.support import UnsupportedModelError, check_supported, durations_of


def load_checkpoint(path: Path) -> ASRModel:
    """Restore a .nemo archive on the CPU, in evaluation mode. Raises FileNotFoundError when there is none."""
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    return ASRModel.restore_from(str(path), map_location=torch.device("cpu")).eval()


def select_att_context(model: ASRModel, att_context: Sequence[int] | None) -> None:
    """Set the attention context of the encoder; None keeps the checkpoint's first one.

    Raises:
        UnsupportedModelError: the encoder was not trained with that context.
    """
    trained = [list(context) for context in model.encoder.att_context_size_all]
    chosen = trained[0] if att_context is None else list(att_context)
    if chosen not in trained:
        raise UnsupportedModelError([f"att_context is {chosen}; the encoder was trained with {trained}"])
    model.encoder.set_default_att_context_size(chosen)


def describe(model: ASRModel, checkpoint: Path) -> ModelDescription:
    """Read every number from the modules of a model whose attention context is set.

    Args:
        model: as `load_checkpoint` returns it.
        checkpoint: the archive it came from, for its name and checksum.

    Raises:
        UnsupportedModelError: the servers cannot run it; the text says why.
    """
    check_supported(model)
    featurizer = model.preprocessor.featurizer
    encoder, decoder = model.encoder, model.decoder
    streaming = encoder.streaming_cfg
    geometry = StreamingGeometry.of_chunks(
        att_context=(encoder.att_context_size[0], encoder.att_context_size[1]),
        subsampling=encoder.subsampling_factor,
        chunk_frames=streaming.chunk_size[1],
        first_chunk_frames=streaming.chunk_size[0],
        pre_encode_cache_frames=streaming.pre_encode_cache_size[1],
        drop_extra_pre_encoded=streaming.drop_extra_pre_encoded,
        hop_samples=featurizer.hop_length,
    )
    return ModelDescription(
        source=Source(
            checkpoint=checkpoint.name,
            sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            checkpoint_nemo_version=str(model.cfg.get("nemo_version", "unknown")),
            export_nemo_version=nemo.__version__,
            model_class=type(model).__name__,
            preprocessor_class=type(model.preprocessor).__name__,
            encoder_class=type(encoder).__name__,
            decoder_class=type(decoder).__name__,
            joint_class=type(model.joint).__name__,
        ),
        mel=MelGeometry(
            sample_rate=featurizer.sample_rate,
            n_mels=featurizer.nfilt,
            n_fft=featurizer.n_fft,
            window_samples=featurizer.win_length,
            hop_samples=featurizer.hop_length,
            preemphasis=float(featurizer.preemph or 0.0),
            log_guard=float(featurizer.log_zero_guard_value_fn(featurizer.fb)),
            normalisation="NA",
        ),
        streaming=geometry,
        encoder=EncoderShape(
            layers=encoder.n_layers,
            model_dim=encoder.d_model,
            encoder_dim=encoder.out_proj.out_features if encoder.out_proj else encoder.d_model,
            left_context=streaming.last_channel_cache_size,
            convolution_context=encoder.conv_context_size[0],
        ),
        transducer=TransducerShape(
            prediction_layers=decoder.pred_rnn_layers,
            prediction_hidden=decoder.pred_hidden,
            vocabulary_size=model.joint.num_classes_with_blank - model.joint.num_extra_outputs - 1,
            blank_id=decoder.blank_idx,
            max_symbols_per_step=model.decoding.decoding.max_symbols,
            durations=durations_of(model),
        ),
    )
