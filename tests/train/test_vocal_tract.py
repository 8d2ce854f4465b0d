"""Vocal tract length perturbation on log-mel features."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training has its own environment: make test-nemo")
librosa = pytest.importorskip("librosa", reason="training has its own environment: make test-nemo")

from scripts.train.vocal_tract import VocalTractPerturbation, VocalTractSettings  # noqa: E402

CENTRES = torch.as_tensor(librosa.mel_frequencies(n_mels=82, fmin=0.0, fmax=8000.0)[1:-1], dtype=torch.float32)


def perturbation(**settings):
    return VocalTractPerturbation(80, VocalTractSettings(**settings))


def test_factor_one_changes_nothing():
    features = torch.randn(3, 80, 50)
    torch.testing.assert_close(perturbation().warp(features, torch.ones(3)), features, atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [0.82, 0.9, 1.12])
def test_a_peak_moves_by_the_factor(factor):
    band = 45
    features = torch.zeros(1, 80, 1)
    features[0, band] = 1.0
    warped = perturbation().warp(features, torch.tensor([factor]))[0, :, 0]
    moved = float((warped * CENTRES).sum() / warped.sum())
    assert moved == pytest.approx(float(CENTRES[band]) / factor, rel=0.03)


def test_each_utterance_has_its_own_factor_and_the_ends_stay():
    features = torch.arange(80.0)[None, :, None].repeat(2, 1, 4)
    warped = perturbation().warp(features, torch.tensor([0.85, 1.1]))
    assert not torch.equal(warped[0], warped[1])
    assert torch.all(warped.diff(dim=1) >= -1e-4), "the order of frequencies is kept"
    assert torch.all((warped >= -1e-4) & (warped <= 79 + 1e-4))


def test_share_and_range_of_the_factors():
    torch.manual_seed(0)
    factors = perturbation(probability=0.5, factor_range=(0.8, 0.9)).draw(4000)
    changed = factors[factors != 1]
    assert 0.45 < len(changed) / 4000 < 0.55
    assert changed.min() >= 0.8
    assert changed.max() <= 0.9
