import numpy as np
import pytest

pytest.importorskip("soxr")
pytest.importorskip("scipy")

from scripts.train.augmentation import AugmentationSettings, Augmenter, coloured_noise, mix, rms, room_response

NOTHING = {
    "speed_probability": 0.0,
    "noise_probability": 0.0,
    "babble_probability": 0.0,
    "reverberation_probability": 0.0,
    "telephone_probability": 0.0,
}


def tone(hertz, seconds=2.0):
    return 0.1 * np.sin(2 * np.pi * hertz * np.arange(int(16_000 * seconds)) / 16_000).astype(np.float32)


def band_power(audio, low, high):
    spectrum = np.abs(np.fft.rfft(audio)) ** 2
    hertz = np.fft.rfftfreq(len(audio), 1 / 16_000)
    return spectrum[(hertz >= low) & (hertz < high)].sum()


def augmenter(**settings):
    return Augmenter(AugmentationSettings(**{**NOTHING, **settings}), lambda random: tone(440), bank=4)


def test_strength_zero_changes_the_level_only():
    audio = tone(300)
    every = AugmentationSettings(*[1.0, (0.9, 1.1), 1.0, 1.0, (6, 30), 1.0, (0.1, 0.6), 1.0, (-30, -20)])
    out = Augmenter(every, lambda random: audio, bank=2)(audio, 0.0, np.random.default_rng(0))
    np.testing.assert_allclose(out / rms(out), audio / rms(audio), atol=1e-4)
    assert -30.01 <= 20 * np.log10(rms(out)) <= -19.99


def test_same_seed_same_audio():
    augment = Augmenter(AugmentationSettings(), lambda random: tone(440), bank=4)
    one, two = (augment(tone(300), 1.0, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_faster_speech_is_shorter_and_higher():
    audio = tone(1000)
    out = augmenter(speed_probability=1.0, speed_range=(1.25, 1.25))(audio, 1.0, np.random.default_rng(0))
    assert len(out) == pytest.approx(len(audio) / 1.25, abs=2)
    assert band_power(out, 1200, 1300) > 0.95 * band_power(out, 0, 8000)


def test_mix_reaches_the_signal_to_noise_ratio():
    audio, noise = tone(300), coloured_noise(32_000, 1.0, np.random.default_rng(0))
    added = mix(audio, noise, 10.0) - audio
    assert 20 * np.log10(rms(audio) / rms(added)) == pytest.approx(10, abs=0.1)


def test_noise_colour():
    random = np.random.default_rng(0)
    white, brown = coloured_noise(64_000, 0.0, random), coloured_noise(64_000, 2.0, random)
    assert band_power(white, 4000, 8000) == pytest.approx(band_power(white, 0, 4000), rel=0.1)
    assert band_power(brown, 4000, 8000) < 0.01 * band_power(brown, 0, 4000)


def test_telephone_band():
    audio = tone(1000) + tone(6000) + tone(80)
    out = augmenter(telephone_probability=1.0)(audio, 1.0, np.random.default_rng(0))
    assert band_power(out, 5000, 8000) < 1e-3 * band_power(out, 900, 1100)
    assert band_power(out, 0, 120) < 1e-2 * band_power(out, 900, 1100)


def test_room_decays_by_sixty_decibels_in_its_time():
    room = room_response(0.5, np.random.default_rng(0))
    early, late = rms(room[800:1600]), rms(room[4000:4800])  # 0.2 s apart
    assert 20 * np.log10(early / late) == pytest.approx(24, abs=3)


@pytest.mark.parametrize("seed", range(20))
def test_full_strength_stays_finite_and_in_range(seed):
    random = np.random.default_rng(seed)
    augment = Augmenter(AugmentationSettings(), lambda random: tone(440), bank=4)
    audio = random.standard_normal(16_000 * 3).astype(np.float32) * 0.1
    out = augment(audio, 1.0, random)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 1
