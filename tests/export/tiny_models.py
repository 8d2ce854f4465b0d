"""Small NeMo transducers with random weights, built in memory: every architecture the export must take or refuse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from nemo.collections.asr.models import ASRModel, EncDecRNNTBPEModel
from omegaconf import OmegaConf

_SENTENCE = "the quick brown fox jumps over the lazy dog and runs away from seven hungry bears"


@dataclass(frozen=True)
class TinyModel:
    """The choices that tests vary; the rest is as in the shipped model."""

    n_mels: int = 80
    normalize: str = "NA"
    layers: int = 2
    model_dim: int = 32
    heads: int = 4
    subsampling_channels: int = 16
    feat_out: int = -1
    subsampling_factor: int = 8
    causal_downsampling: bool = True
    att_context: tuple[tuple[int, int], ...] = ((14, 6), (14, 1), (14, 0))
    att_context_style: str = "chunked_limited"
    conv_context: str | None = "causal"
    conv_norm: str = "layer_norm"
    xscaling: bool = True
    use_bias: bool = True
    prediction_layers: int = 1
    prediction_hidden: int = 24
    durations: tuple[int, ...] = ()
    big_blanks: tuple[int, ...] = ()
    stateless: bool = False

    def build(self, folder: Path) -> EncDecRNNTBPEModel:
        """Return the model with every parameter random, biases and norms included, so that no mask can hide."""
        torch.manual_seed(0)
        model = EncDecRNNTBPEModel(cfg=OmegaConf.create(self._config(_tokenizer(folder))))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            if not self.stateless:
                model.decoder.prediction["embed"].weight[model.decoder.blank_idx] = 0.0
            for module in model.encoder.modules():
                if isinstance(module, torch.nn.BatchNorm1d):
                    module.running_mean.normal_()
                    module.running_var.uniform_(0.5, 2.0)
        return model.eval()

    def save(self, folder: Path) -> tuple[ASRModel, Path]:
        """Return the model and the archive it was saved to."""
        model = self.build(folder)
        path = folder / "tiny.nemo"
        model.save_to(str(path))
        return model, path

    def _config(self, tokenizer: Path) -> dict[str, Any]:
        vocabulary_size = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)).get_piece_size()
        labels = [f"label{index}" for index in range(vocabulary_size)]
        encoder_dim = self.feat_out if self.feat_out > 0 else self.model_dim
        modules = "nemo.collections.asr.modules"
        prednet: dict[str, Any] = {"pred_hidden": self.prediction_hidden, "dropout": 0.0}
        if self.stateless:
            decoder = {"_target_": f"{modules}.StatelessTransducerDecoder", "context_size": 2}
        else:
            decoder = {"_target_": f"{modules}.RNNTDecoder"}
            prednet |= {"pred_rnn_layers": self.prediction_layers, "t_max": None}
        return {
            "sample_rate": 16_000,
            "train_ds": None,
            "validation_ds": None,
            "model_defaults": {
                "enc_hidden": encoder_dim,
                "pred_hidden": self.prediction_hidden,
                "joint_hidden": 20,
            },
            "tokenizer": {"dir": str(tokenizer.parent), "type": "bpe"},
            "preprocessor": {
                "_target_": f"{modules}.AudioToMelSpectrogramPreprocessor",
                "sample_rate": 16_000,
                "normalize": self.normalize,
                "window_size": 0.025,
                "window_stride": 0.01,
                "window": "hann",
                "features": self.n_mels,
                "n_fft": 512,
                "dither": 0.0,
                "pad_to": 0,
            },
            "encoder": {
                "_target_": f"{modules}.ConformerEncoder",
                "feat_in": self.n_mels,
                "feat_out": self.feat_out,
                "n_layers": self.layers,
                "d_model": self.model_dim,
                "use_bias": self.use_bias,
                "subsampling": "dw_striding",
                "subsampling_factor": self.subsampling_factor,
                "subsampling_conv_channels": self.subsampling_channels,
                "causal_downsampling": self.causal_downsampling,
                "self_attention_model": "rel_pos",
                "n_heads": self.heads,
                "att_context_size": [list(context) for context in self.att_context],
                "att_context_style": self.att_context_style,
                "xscaling": self.xscaling,
                "pos_emb_max_len": 500,
                "conv_kernel_size": 9,
                "conv_norm_type": self.conv_norm,
                "conv_context_size": self.conv_context,
                "dropout": 0.0,
                "dropout_pre_encoder": 0.0,
                "dropout_emb": 0.0,
                "dropout_att": 0.0,
            },
            "decoder": {**decoder, "prednet": prednet, "vocab_size": vocabulary_size},
            "joint": {
                "_target_": f"{modules}.RNNTJoint",
                "log_softmax": None,
                "jointnet": {
                    "joint_hidden": 20,
                    "activation": "relu",
                    "dropout": 0.0,
                    "encoder_hidden": encoder_dim,
                    "pred_hidden": self.prediction_hidden,
                },
                "num_classes": vocabulary_size,
                "num_extra_outputs": len(self.durations or self.big_blanks),
                "vocabulary": labels,
            },
            "decoding": self._decoding(),
            "loss": self._loss(),
            "optim": {"name": "adamw", "lr": 1e-3},
        }

    def _decoding(self) -> dict[str, Any]:
        decoding: dict[str, Any] = {"strategy": "greedy_batch", "greedy": {"max_symbols": 7}}
        if self.durations:
            decoding |= {"model_type": "tdt", "durations": list(self.durations)}
        if self.big_blanks:
            decoding |= {"model_type": "multiblank", "big_blank_durations": list(self.big_blanks)}
        return decoding

    def _loss(self) -> dict[str, Any]:
        if self.durations:
            return {"loss_name": "tdt", "tdt_kwargs": {"durations": list(self.durations), "sigma": 0.05, "omega": 0.1}}
        if self.big_blanks:
            kwargs = {"big_blank_durations": list(self.big_blanks), "sigma": 0.05}
            return {"loss_name": "multiblank_rnnt", "multiblank_rnnt_kwargs": kwargs}
        return {"loss_name": "default"}


def _tokenizer(folder: Path) -> Path:
    """Train a SentencePiece model of a few pieces."""
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir(exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([_SENTENCE[start:] for start in range(len(_SENTENCE))]),
        model_prefix=str(tokenizer / "tokenizer"),
        vocab_size=40,
        model_type="bpe",
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer / "tokenizer.model"))
    vocabulary = "\n".join(pieces.id_to_piece(index) for index in range(pieces.get_piece_size()))
    (tokenizer / "vocab.txt").write_text(vocabulary, encoding="utf-8")
    return tokenizer / "tokenizer.model"
