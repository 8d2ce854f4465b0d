"""The model in training: NeMo's transducer, and auxiliary CTC heads that are dropped at the end."""

import logging
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from nemo.collections.asr.models import EncDecRNNTBPEModel
from nemo.utils import logging as nemo_logging
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from scripts.train.corpus import read_index
from scripts.train.targets import CHARACTERS

CHARACTER_FRAMES = 2  # character frames per encoder frame: 40 ms each
ARCHITECTURE = {
    "encoder": ("feat_in", "n_layers", "d_model", "subsampling_factor", "n_heads", "conv_kernel_size"),
    "decoder": ("prednet.pred_hidden", "prednet.pred_rnn_layers"),
    "joint": ("jointnet.joint_hidden",),
}


class AuxiliaryHeads(nn.Module):
    """CTC heads: characters at 40 ms from an early encoder layer, BPE pieces at 80 ms from the last.

    8x subsampling with BPE targets alone stays at 100 % WER for long; characters align early and pull the rest along.
    """

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.character = nn.Linear(width, CHARACTER_FRAMES * (len(CHARACTERS) + 1))
        self.pieces = nn.Linear(width, vocabulary + 1)

    def characters_of(self, early: Tensor) -> Tensor:
        """[B, T, D] to logits [B, 2 T, 29], blank 0."""
        return self.character(early).unflatten(-1, (CHARACTER_FRAMES, -1)).flatten(1, 2)  # type: ignore[no-any-return]


class LayerTap:
    """Keeps the output of one encoder layer of the latest forward pass."""

    def __init__(self, encoder: Any, layer: int) -> None:
        """Hook layer number `layer`, counted from 1.

        Raises:
            ValueError: there is no such layer.
        """
        if not 1 <= layer <= len(encoder.layers):
            raise ValueError(f"character_layer is {layer}, allowed is 1 to {len(encoder.layers)}")
        encoder.layers[layer - 1].register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self.output: Tensor = output[0] if isinstance(output, tuple) else output


def train_tokenizer(packed: Path, folder: Path, vocabulary: int) -> None:
    """Train a SentencePiece BPE on the packed training text, in the layout that NeMo's `tokenizer.dir` expects."""
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([utterance.text for utterance in read_index(packed) if utterance.split == "train"]),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=vocabulary,
        model_type="bpe",
        character_coverage=1.0,
        bos_id=-1,
        eos_id=-1,
    )
    pieces = [line.split("\t")[0] for line in (folder / "tokenizer.vocab").read_text().splitlines()]
    (folder / "vocab.txt").write_text("\n".join(piece for piece in pieces if piece != "<unk>") + "\n")


def new_model(config: DictConfig, tokenizer: Path) -> EncDecRNNTBPEModel:
    """A model with random weights."""
    _quiet()
    config = OmegaConf.merge(config, {"tokenizer": {"dir": str(tokenizer)}})
    return _without_graphs(EncDecRNNTBPEModel(cfg=config))


def restore_model(path: Path, config: DictConfig | None = None) -> EncDecRNNTBPEModel:
    """A model from a `.nemo` file.

    Args:
        path: NeMo checkpoint.
        config: the configured model; its architecture must be the checkpoint's.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the architectures differ.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    _quiet()
    model = EncDecRNNTBPEModel.restore_from(str(path), map_location="cpu")
    if config is not None:
        for section, keys in ARCHITECTURE.items():
            for key in keys:
                wanted, found = OmegaConf.select(config[section], key), OmegaConf.select(model.cfg[section], key)
                if wanted != found:
                    raise ValueError(f"{path}: {section}.{key} is {found}, the configuration says {wanted}")
        _regularize(model, config)
    return _without_graphs(model)


def _regularize(model: Any, config: DictConfig) -> None:
    """Masks and dropout as configured now, not as when the checkpoint was made."""
    model.spec_augmentation = model.from_config_dict(config.spec_augment)
    model.cfg.spec_augment = config.spec_augment
    for module in model.encoder.layers.modules():
        if isinstance(module, nn.Dropout):
            module.p = config.encoder.dropout


def _without_graphs(model: EncDecRNNTBPEModel) -> EncDecRNNTBPEModel:
    """Decode without CUDA graphs: they would keep the addresses of weights, which the average swaps."""
    model.decoding.decoding.disable_cuda_graphs()
    return model


def _quiet() -> None:
    nemo_logging.setLevel(logging.ERROR)
    torch.set_warn_always(False)
