"""The model repository as Triton loads it: which artifact lies where. Needs neither NeMo nor the weights."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from scripts.export.description import ModelDescription
from scripts.export.model_configs import ModelConfigs
from scripts.export.serving_options import ServingOptions
from scripts.export.triton_config import render

_VAD = Path(__file__).resolve().parents[2] / "model-repo" / "vad"


@dataclass(frozen=True)
class Layout:
    """Paths inside a model repository."""

    root: Path

    @property
    def description(self) -> Path:
        """What the configurations were rendered from."""
        return self.root / "description.json"

    @property
    def encoder(self) -> Path:
        """Graph of the streaming encoder."""
        return self.root / "encoder" / "1" / "model.onnx"

    @property
    def encoder_batch(self) -> Path:
        """Graph of the whole-utterance encoder."""
        return self.root / "encoder_batch" / "1" / "model.onnx"

    @property
    def decoder_joint(self) -> Path:
        """Graph of prediction network and joint."""
        return self.root / "decoder_joint" / "1" / "model.onnx"

    @property
    def decoder_greedy(self) -> Path:
        """Graph of the greedy search around them."""
        return self.root / "decoder_greedy" / "1" / "model.onnx"

    @property
    def mels(self) -> list[Path]:
        """Filterbank and window, one copy for each preprocessor."""
        return [self.root / name / "1" / "mel.npz" for name in ("preprocessor", "preprocessor_batch")]

    @property
    def vocabularies(self) -> list[Path]:
        """Pieces by token id, one copy for each decoder."""
        return [self.root / name / "1" / "vocabulary.txt" for name in ("decoder", "decoder_batch")]

    @property
    def tokenizers(self) -> list[Path]:
        """SentencePiece model, one copy for each decoder."""
        return [self.root / name / "1" / "tokenizer.model" for name in ("decoder", "decoder_batch")]

    def copy_vad(self) -> None:
        """Copy the voice activity detector, the same for every recogniser, from the shipped model repository."""
        folder = self.root / "vad"
        if folder.resolve() != _VAD:
            shutil.copytree(_VAD, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("config.pbtxt"))

    def write_configs(self, description: ModelDescription, options: ServingOptions) -> None:
        """Write description.json, the config.pbtxt of every model, and its configs/<profile>.pbtxt."""
        self.root.mkdir(parents=True, exist_ok=True)
        description.save(self.description)
        configs = ModelConfigs(description, options)
        for config in configs.all():
            version = self.root / config.name / "1"
            version.mkdir(parents=True, exist_ok=True)
            if config.platform == "ensemble":
                (version / ".gitkeep").touch()  # Triton wants the folder, git keeps no empty one
            (self.root / config.name / "config.pbtxt").write_text(render(config), encoding="utf-8")
        for profile, replaced in configs.profiles().items():
            for config in replaced:
                path = self.root / config.name / "configs" / f"{profile}.pbtxt"
                path.parent.mkdir(exist_ok=True)
                path.write_text(render(config), encoding="utf-8")
