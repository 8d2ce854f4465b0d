"""The whole import: read, refuse or write, compare."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import onnx

from scripts.export.description import (
    EncoderShape,
    MelGeometry,
    ModelDescription,
    Source,
    StreamingGeometry,
    TransducerShape,
)
from scripts.export.greedy_graph import save_greedy_graph
from scripts.export.layout import Layout
from scripts.export.serving_options import ServingOptions
from scripts.export.triton_config import render
from scripts.export.zipformer.configs import ZipformerConfigs
from scripts.export.zipformer.decoder_joint_graph import context_size, decoder_joint, vocabulary_size
from scripts.export.zipformer.encoder_graph import streaming_encoder, utterance_encoder
from scripts.export.zipformer.files import Encoder, UnsupportedZipformerError, find_file, read_encoder
from scripts.export.zipformer.float_activations import float_activations
from scripts.export.zipformer.sharing import share
from scripts.export.zipformer.tokenizer import read_tokenizer
from scripts.export.zipformer.vocabulary import read_tokens, unknown_id, write_vocabulary

Activations = Literal["int8", "float"]
SAMPLE_RATE = 16000
HOP_SAMPLES = 160
# What sherpa-onnx's own example feeds after a file (python-api-examples/online-decode-files.py).
TAIL_PADDING_SECS = 0.66


@dataclass(frozen=True)
class Imported:
    """What was read and written.

    Attributes:
        description: the model in the terms of any other repository.
        files: encoder, decoder and joiner that were taken.
        states: state tensors of the encoder.
        encoder_batch_size: most streams to a call of the encoder.
        batch_reason: why it is 1; empty when it is not.
        file_batch: the batch of the encoder in the file, where it is fixed; None for any.
        has_tokenizer: whether phrases can be written as labels.
    """

    description: ModelDescription
    files: tuple[Path, Path, Path]
    states: int
    encoder_batch_size: int
    batch_reason: str
    file_batch: int | None
    has_tokenizer: bool


def import_zipformer(
    folder: Path,
    layout: Layout,
    options: ServingOptions,
    tail_padding_secs: float = TAIL_PADDING_SECS,
    activations: Activations = "int8",
) -> Imported:
    """Turn the files of sherpa-onnx into a model repository.

    Args:
        folder: encoder*.onnx (int8 preferred), decoder*.onnx and joiner*.onnx (float preferred), tokens.txt,
            and bpe.model, which phrases need.
        layout: where to write; files of an earlier import are replaced.
        options: limits of the servers.
        tail_padding_secs: silence after the last audio, so that the encoder's last window is filled.
        activations: of an int8 encoder: "int8" computes what the file computes, bit for bit; "float" keeps its
            weights and quantises nothing else, which is faster and not the same.

    Raises:
        FileNotFoundError: a file is missing.
        UnsupportedZipformerError: the files cannot be served; the message says why.
    """
    if not 0 <= tail_padding_secs <= 5:
        raise UnsupportedZipformerError(f"tail padding is {tail_padding_secs:g} s; allowed: 0 to 5")
    encoder_file = find_file(folder, "encoder", prefer_int8=True)
    decoder_file = find_file(folder, "decoder", prefer_int8=False)
    joiner_file = find_file(folder, "joiner", prefer_int8=False)
    encoder, decoder, joiner = read_encoder(encoder_file), onnx.load(decoder_file), onnx.load(joiner_file)
    if activations == "float":
        encoder = replace(encoder, model=float_activations(encoder.model), is_quantised_by_batch=False)
    labels = vocabulary_size(decoder)
    pieces = read_tokens(folder / "tokens.txt", labels)
    shared = share(encoder)
    description = ModelDescription(
        source=_source(encoder_file),
        mel=_mel(encoder),
        streaming=_streaming(encoder),
        encoder=_shape(encoder),
        transducer=TransducerShape(
            prediction_layers=1,
            prediction_hidden=context_size(decoder) - 1,
            vocabulary_size=labels - 1,
            blank_id=labels - 1,
            max_symbols_per_step=1,  # sherpa-onnx looks at a frame once
        ),
    )
    tokenizer = read_tokenizer(folder / "bpe.model", pieces)
    configs = ZipformerConfigs(
        description,
        options,
        encoder.states,
        encoder_batch_size=1 if shared.reason else options.max_batch_size,
        utterance_batch_size=1 if encoder.batch == 1 or shared.reason else options.max_batch_size,
        tail_padding_samples=int(tail_padding_secs * SAMPLE_RATE),
        has_tokenizer=tokenizer is not None,
    )
    joint = decoder_joint(decoder, joiner, unknown_id(pieces))
    layout.root.mkdir(parents=True, exist_ok=True)
    description.save(layout.description)
    for config in configs.all():
        (layout.root / config.name / "1").mkdir(parents=True, exist_ok=True)
        (layout.root / config.name / "config.pbtxt").write_text(render(config), encoding="utf-8")
    for path in layout.vocabularies:
        write_vocabulary(pieces, path)
    if tokenizer is not None:
        for path in layout.tokenizers:
            path.write_bytes(tokenizer)
    layout.copy_vad()
    onnx.save(streaming_encoder(shared.encoder), layout.encoder)
    # Utterances have lengths of their own, so each has a run of its own, and that is fastest with the file's graph.
    onnx.save(utterance_encoder(encoder), layout.encoder_batch)
    onnx.save(joint, layout.decoder_joint)
    save_greedy_graph(layout.decoder_joint, layout.decoder_greedy)
    return Imported(
        description,
        (encoder_file, decoder_file, joiner_file),
        len(encoder.states),
        configs.encoder_batch_size,
        shared.reason,
        encoder.batch,
        tokenizer is not None,
    )


def _source(encoder: Path) -> Source:
    return Source(
        checkpoint=encoder.name,
        sha256=hashlib.sha256(encoder.read_bytes()).hexdigest(),
        checkpoint_nemo_version="not NeMo",
        export_nemo_version="not NeMo",
        model_class="icefall streaming transducer",
        preprocessor_class="kaldi-native-fbank OnlineFbank",
        encoder_class="zipformer2",
        decoder_class="stateless prediction network",
        joint_class="joiner",
    )


def _mel(encoder: Encoder) -> MelGeometry:
    """Kaldi's defaults, which are those of icefall."""
    return MelGeometry(
        sample_rate=SAMPLE_RATE,
        n_mels=encoder.n_mels,
        n_fft=512,
        window_samples=400,
        hop_samples=HOP_SAMPLES,
        preemphasis=0.97,
        log_guard=2.0**-23,
        normalisation="NA",
    )


def _streaming(encoder: Encoder) -> StreamingGeometry:
    """The geometry of a window; there is no padding at the left and no longer window at the end."""
    return StreamingGeometry(
        att_context=(_numbers(encoder, "left_context_len")[0], encoder.encoder_frames),
        subsampling=encoder.chunk_frames // encoder.encoder_frames,
        chunk_frames=encoder.chunk_frames,
        first_chunk_frames=encoder.window_frames,
        pre_encode_cache_frames=encoder.window_frames - encoder.chunk_frames,
        left_pad_frames=0,
        window_frames=encoder.window_frames,
        final_window_frames=encoder.window_frames,
        drop_extra_pre_encoded=0,
        encoder_frames=encoder.encoder_frames,
        final_encoder_frames=encoder.encoder_frames,
        chunk_samples=encoder.chunk_frames * HOP_SAMPLES,
    )


def _shape(encoder: Encoder) -> EncoderShape:
    return EncoderShape(
        layers=sum(_numbers(encoder, "num_encoder_layers")),
        model_dim=max(_numbers(encoder, "encoder_dims")),
        encoder_dim=encoder.encoder_dim,
        left_context=max(_numbers(encoder, "left_context_len")),
        convolution_context=max(_numbers(encoder, "cnn_module_kernels")) // 2,
    )


def _numbers(encoder: Encoder, key: str) -> list[int]:
    return [int(number) for number in encoder.metadata[key].split(",")]
