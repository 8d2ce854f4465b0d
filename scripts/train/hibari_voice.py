"""The voice of `hibari-tts` (Apache-2.0): Kokoro's `heart` distilled, a hundred times real time, many pitches."""

import hibari  # type: ignore[import-not-found,unused-ignore]
import numpy as np
import soxr  # type: ignore[import-untyped]

from scripts.train.corpus import SAMPLE_RATE
from scripts.train.speech import Spoken, finished

PITCHES = (0.72, 1.2)
"""From a low man's voice to a child's: the reader is a woman."""


class HibariVoice:
    """Speaks sentences at random pitches and paces; one thread, so run one process per core."""

    name = "hibari"

    def __init__(self) -> None:
        """Load the voice, which is in the package."""
        self._voice = hibari.Hibari()

    def speak(self, sentence: str, random: np.random.Generator) -> Spoken:
        """Read a sentence; the voice is named after its pitch, `heart*0.9`; `PiperVoice.speak` says how it is set."""
        pitch, pace = round(random.uniform(*PITCHES), 2), random.uniform(0.8, 1.25)
        audio = self._voice(sentence, speed=pace / pitch, seed=int(random.integers(2**31)))
        return Spoken(finished(soxr.resample(audio, hibari.SAMPLE_RATE * pitch, SAMPLE_RATE)), f"heart*{pitch}")
