import pytest

pytest.importorskip("omegaconf")
pytest.importorskip("soxr")

from pathlib import Path

from omegaconf.errors import ConfigKeyError, ValidationError

from scripts.train.schedule import TrainingClock, augmentation_strength, learning_rate
from scripts.train.settings import DataSettings, OptimizerSettings, load

SMALL = Path(__file__).parents[2] / "scripts" / "train" / "small.yaml"


def test_a_pause_costs_little_of_the_schedule():
    clock = TrainingClock(1000)
    for _ in range(10):
        clock.add(1.0)
    clock.add(600.0)
    assert clock.active_seconds == pytest.approx(14, abs=0.5)
    assert clock.seconds_left == pytest.approx(986, abs=0.5)


def test_progress_ends_at_one():
    clock = TrainingClock(1.5)
    clock.add(1.0)
    clock.add(1.0)
    assert clock.progress == 1
    assert clock.seconds_left == 0


def test_learning_rate_warms_up_holds_and_decays():
    settings = OptimizerSettings(peak=1e-3, last=1e-5, warmup_steps=100, plateau_share=0.25)
    assert learning_rate(settings, 0, 0.0) == pytest.approx(1e-5)
    assert learning_rate(settings, 49, 0.01) == pytest.approx(5e-4)
    assert learning_rate(settings, 1000, 0.25) == pytest.approx(1e-3)
    assert learning_rate(settings, 1000, 0.625) == pytest.approx(5.05e-4)
    assert learning_rate(settings, 1000, 1.0) == pytest.approx(1e-5)


def test_augmentation_ramp():
    settings = DataSettings(augmentation_ramp=(0.2, 0.6))
    assert [augmentation_strength(settings, at) for at in (0.0, 0.2, 0.4, 0.9)] == pytest.approx([0, 0, 0.5, 1])


def test_overrides_are_typed():
    settings, model = load([SMALL], ["train.optimizer.peak=2e-3", "model.encoder.n_layers=2"])
    assert settings.optimizer.peak == 2e-3
    assert model.encoder.n_layers == 2
    with pytest.raises(ConfigKeyError):
        load([SMALL], ["train.optimizer.peek=1"])
    with pytest.raises(ValidationError):
        load([SMALL], ["train.optimizer.peak=high"])


def test_a_later_file_overrides_parts_of_an_earlier_one():
    gpu = SMALL.with_name("gpu.yaml")
    (alone, model), (merged, same) = load([SMALL], []), load([SMALL, gpu], [])
    assert model == same
    assert merged.data.batch_seconds > alone.data.batch_seconds
    assert merged.data.mix == alone.data.mix
