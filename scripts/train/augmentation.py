"""Waveform augmentation: speed, noise, babble, reverberation, telephone band, level."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr  # type: ignore[import-untyped]
from scipy.signal import butter, fftconvolve, sosfilt

from scripts.train.corpus import SAMPLE_RATE

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AugmentationSettings:
    """Probabilities at full strength, and ranges to draw from uniformly."""

    speed_probability: float = 0.5
    speed_range: tuple[float, float] = (0.86, 1.2)
    noise_probability: float = 0.3
    babble_probability: float = 0.15
    snr_db: tuple[float, float] = (6.0, 30.0)
    reverberation_probability: float = 0.2
    decay_seconds: tuple[float, float] = (0.1, 0.6)
    telephone_probability: float = 0.15
    level_db: tuple[float, float] = (-36.0, -14.0)


def rms(audio: Audio) -> float:
    """Root mean square, never zero."""
    return float(np.sqrt(np.mean(np.square(audio)) + 1e-10))


def coloured_noise(samples: int, slope: float, random: np.random.Generator) -> Audio:
    """Gaussian noise whose power falls as frequency ** -slope: 0 white, 1 pink, 2 brown; RMS 1."""
    spectrum = np.fft.rfft(random.standard_normal(samples).astype(np.float32))
    frequency = np.maximum(np.arange(len(spectrum)), 1 + 20 * samples // SAMPLE_RATE)
    noise = np.fft.irfft(spectrum * frequency ** (-slope / 2), samples).astype(np.float32)
    return noise / rms(noise)


def room_response(decay_seconds: float, random: np.random.Generator) -> Audio:
    """A room's impulse response: the direct sound and exponentially decaying noise (60 dB in `decay_seconds`)."""
    samples = int(0.6 * decay_seconds * SAMPLE_RATE)
    tail = random.standard_normal(samples) * 10 ** (-3 * np.arange(samples) / (decay_seconds * SAMPLE_RATE))
    direct_to_reverberant = 10 ** (random.uniform(0, 15) / 20)
    tail[0] = direct_to_reverberant * np.sqrt(np.square(tail[1:]).sum())
    return tail.astype(np.float32)


def mix(audio: Audio, noise: Audio, snr_db: float) -> Audio:
    """Add noise of the same length at a signal-to-noise ratio."""
    return audio + noise * np.float32(rms(audio) / rms(noise) * 10 ** (-snr_db / 20))


class Augmenter:
    """Draws random augmentations. Noises and rooms come from a bank made once, as drawing them anew costs more."""

    def __init__(
        self, settings: AugmentationSettings, other_speech: Callable[[np.random.Generator], Audio], *, bank: int = 40
    ) -> None:
        """Fill the bank.

        Args:
            settings: probabilities and ranges.
            other_speech: draws an utterance for babble.
            bank: noises of 20 s and rooms to keep.
        """
        self._settings, self._other_speech = settings, other_speech
        random = np.random.default_rng(0)
        self._noises = [coloured_noise(20 * SAMPLE_RATE, random.uniform(0, 2), random) for _ in range(bank)]
        self._rooms = [room_response(random.uniform(*settings.decay_seconds), random) for _ in range(bank)]
        self._telephone = butter(4, (300, 3400), "bandpass", fs=SAMPLE_RATE, output="sos").astype(np.float32)

    def __call__(self, audio: Audio, strength: float, random: np.random.Generator) -> Audio:
        """Augment one utterance.

        Args:
            audio: float32 [samples], 16 kHz.
            strength: 0 changes the level only, 1 applies every probability in full.
            random: source of all draws.

        Returns:
            float32 samples; their number changes with speed.
        """
        settings = self._settings

        def chosen(probability: float) -> bool:
            return random.random() < probability * strength

        if chosen(settings.speed_probability):
            audio = soxr.resample(audio, SAMPLE_RATE * random.uniform(*settings.speed_range), SAMPLE_RATE, "QQ")
        if chosen(settings.reverberation_probability):
            room = self._rooms[random.integers(len(self._rooms))]
            audio = fftconvolve(audio, room)[: len(audio)].astype(np.float32)
        if chosen(settings.noise_probability):
            noise = self._noises[random.integers(len(self._noises))]
            start = random.integers(len(noise) - len(audio)) if len(noise) > len(audio) else 0
            audio = mix(audio, np.resize(noise[start:], len(audio)), random.uniform(*settings.snr_db))
        if chosen(settings.babble_probability):
            voices = [np.resize(self._other_speech(random), len(audio)) for _ in range(random.integers(1, 5))]
            # One audible talker would be transcribed with reason: few voices stay quieter.
            floor = settings.snr_db[0] + 6 / len(voices)
            audio = mix(audio, np.sum(voices, axis=0), random.uniform(floor, settings.snr_db[1]))
        if chosen(settings.telephone_probability):
            audio = sosfilt(self._telephone, audio).astype(np.float32)
        level = 10 ** (random.uniform(*settings.level_db) / 20)
        return np.clip(audio * np.float32(level / rms(audio)), -1, 1)
