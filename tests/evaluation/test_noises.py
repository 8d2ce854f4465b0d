"""The sounds are what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.evaluation.noises import LEVELS_DBFS, clicks, hum, level, noise, sounds


def _power(audio, low, high):
    spectrum = np.abs(np.fft.rfft(audio)) ** 2
    frequencies = np.fft.rfftfreq(len(audio), 1 / 16000)
    return spectrum[(frequencies >= low) & (frequencies < high)].sum()


@pytest.mark.parametrize(("colour", "octave_db"), [("white", 3), ("pink", 0), ("brown", -3)])
@pytest.mark.parametrize("dbfs", LEVELS_DBFS)
def test_noise_has_its_level_and_slope(colour, octave_db, dbfs):
    audio = noise(colour, dbfs, 20, np.random.default_rng(1))
    assert level(audio) == pytest.approx(dbfs, abs=0.01)
    slope = 10 * np.log10(_power(audio, 2000, 4000) / _power(audio, 1000, 2000))
    assert slope == pytest.approx(octave_db, abs=0.3)


def test_unknown_colour_is_refused():
    with pytest.raises(ValueError, match=r"'green'.*white, pink, brown"):
        noise("green", -40, 1, np.random.default_rng(0))


def test_hum_is_at_50_hz():
    audio = hum(-26, 2)
    assert level(audio) == pytest.approx(-26, abs=0.01)
    assert np.argmax(np.abs(np.fft.rfft(audio))) == 100


def test_clicks_are_short_and_loud():
    audio = clicks(0.5, 10, np.random.default_rng(0))
    assert np.abs(audio).max() == pytest.approx(0.5)
    assert np.mean(audio != 0) < 0.01


def test_all_sounds_fit_in_full_scale():
    recordings = sounds(2)
    assert len(recordings) == 12
    assert level(recordings["digital silence"]) == -np.inf
    for audio in recordings.values():
        assert audio.dtype == np.float32
        assert len(audio) == 32000
        assert np.abs(audio).max() <= 1
