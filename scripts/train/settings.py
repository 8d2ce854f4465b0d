"""The training configuration: typed sections of a YAML file, checked by OmegaConf."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from scripts.train.augmentation import AugmentationSettings
from scripts.train.distillation import DistillationSettings
from scripts.train.vocal_tract import VocalTractSettings


@dataclass
class OptimizerSettings:
    """AdamW over a schedule of warm-up, plateau and linear decay, in shares of the training time."""

    peak: float = 1.2e-3
    last: float = 1e-5
    warmup_steps: int = 300
    plateau_share: float = 0.3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 1e-2
    max_gradient_norm: float = 1.0
    ema_decay: float = 0.999


@dataclass
class LossSettings:
    """Weights of the loss terms, each in nats per label.

    The auxiliary CTC heads start the alignment: a character head on an early layer, a BPE head on the last. The
    transducer's weight ramps up from `transducer_start` over `transducer_ramp_share` of the time, and the auxiliary
    weights fall linearly from their first to their second value over the whole of it.
    """

    transducer_start: float = 0.1
    transducer_ramp_share: float = 0.3
    character: tuple[float, float] = (1.4, 0.3)
    pieces: tuple[float, float] = (0.3, 0.1)
    character_layer: int = 2
    fastemit: float = 0.005
    head_steps: int = 0


@dataclass
class DataSettings:
    """Batches and mix. Augmentation strength ramps from 0 to 1 between two shares of the training time."""

    batch_seconds: float = 100.0
    workers: int = 0
    augmentation_ramp: tuple[float, float] = (0.2, 0.5)
    mix: dict[str, float] = field(default_factory=dict)


@dataclass
class TrainSettings:
    """All sections."""

    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    vocal_tract: VocalTractSettings = field(default_factory=VocalTractSettings)
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    evaluate_minutes: float = 10.0
    vocabulary: int = 128


def load(paths: Sequence[Path], overrides: list[str]) -> tuple[TrainSettings, DictConfig]:
    """Read a configuration.

    Args:
        paths: YAML with the sections `train` (see `TrainSettings`) and `model` (NeMo's EncDecRNNTBPEModel); a later
            file may have parts of them and overrides those before.
        overrides: dotted assignments, such as `train.optimizer.peak=1e-3`.

    Returns:
        the checked training settings and NeMo's model configuration.

    Raises:
        omegaconf.errors.ConfigKeyError: a key that does not exist.
        omegaconf.errors.ValidationError: a value of the wrong type.
    """
    document: Any = OmegaConf.merge(*map(OmegaConf.load, paths), OmegaConf.from_dotlist(overrides))
    merged = OmegaConf.merge(OmegaConf.structured(TrainSettings), document.train)
    settings: Any = OmegaConf.to_object(merged)
    return settings, document.model
