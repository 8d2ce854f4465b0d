"""Sounds without speech, for what a recogniser makes of them."""

from __future__ import annotations

import numpy as np

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32

# Exponent of 1/f in the amplitude spectrum.
COLOURS = {"white": 0.0, "pink": 0.5, "brown": 1.0}
LEVELS_DBFS = (-60.0, -40.0, -26.0)
_LOWEST_HZ = 20.0  # brown noise would put all its power below
_CLICKS_PER_SECOND = 2


def level(audio: Float32) -> float:
    """RMS level of [samples] in dB below full scale (a square wave of amplitude 1 has 0 dBFS); -inf for silence."""
    rms = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
    return 20 * float(np.log10(rms)) if rms else -np.inf


def noise(colour: str, dbfs: float, secs: float, random: np.random.Generator) -> Float32:
    """Gaussian noise of a colour in `COLOURS` at an RMS level, [samples] float32.

    Raises:
        ValueError: no such colour.
    """
    if colour not in COLOURS:
        raise ValueError(f"colour is {colour!r}; allowed: {', '.join(COLOURS)}")
    samples = round(secs * MODEL_SAMPLE_RATE)
    spectrum = np.fft.rfft(random.standard_normal(samples))
    frequencies = np.fft.rfftfreq(samples, 1 / MODEL_SAMPLE_RATE)
    shaped = spectrum / np.maximum(frequencies, _LOWEST_HZ) ** COLOURS[colour]
    shaped[frequencies < _LOWEST_HZ] = 0
    return _at_level(np.fft.irfft(shaped, samples).astype(np.float32), dbfs)


def hum(dbfs: float, secs: float) -> Float32:
    """Mains hum: 50 Hz and its next odd harmonics, falling as 1/n, at an RMS level, [samples] float32."""
    time = np.arange(round(secs * MODEL_SAMPLE_RATE)) / MODEL_SAMPLE_RATE
    wave = np.sum([np.sin(2 * np.pi * 50 * n * time) / n for n in (1, 3, 5)], axis=0)
    return _at_level(wave.astype(np.float32), dbfs)


def clicks(peak: float, secs: float, random: np.random.Generator) -> Float32:
    """Clicks of 2 ms at random times, about two a second, otherwise digital silence, [samples] float32."""
    audio = np.zeros(round(secs * MODEL_SAMPLE_RATE), np.float32)
    length = round(0.002 * MODEL_SAMPLE_RATE)
    decay = peak * np.exp(-np.arange(length) / (length / 4))
    for start in random.integers(0, len(audio) - length, round(secs * _CLICKS_PER_SECOND)):
        audio[start : start + length] = decay * random.choice((-1.0, 1.0), length)
    return audio


def sounds(secs: float, seed: int = 0) -> dict[str, Float32]:
    """Return every test sound by name, the same each time."""
    random = np.random.default_rng(seed)
    found = {"digital silence": np.zeros(round(secs * MODEL_SAMPLE_RATE), np.float32)}
    for colour in COLOURS:
        for dbfs in LEVELS_DBFS:
            found[f"{colour} noise, {dbfs:g} dBFS"] = noise(colour, dbfs, secs, random)
    found["50 Hz hum, -26 dBFS"] = hum(-26.0, secs)
    found["clicks, peak 0.5"] = clicks(0.5, secs, random)
    return found


def _at_level(audio: Float32, dbfs: float) -> Float32:
    scaled: Float32 = audio * np.float32(10 ** ((dbfs - level(audio)) / 20))
    return scaled
