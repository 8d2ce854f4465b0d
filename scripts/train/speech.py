"""What the engines of synthetic speech have in common."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from scripts.train.corpus import SAMPLE_RATE


@dataclass(frozen=True)
class Spoken:
    """A sentence, spoken.

    Attributes:
        audio: [samples] float32 at 16 kHz.
        voice: name of the voice.
    """

    audio: npt.NDArray[np.float32]
    voice: str


class Engine(Protocol):
    """Speaks sentences in voices that it draws."""

    name: str
    """As `pack` knows it."""

    def speak(self, sentence: str, random: np.random.Generator) -> Spoken:
        """Read a sentence in a random voice and pace."""


def finished(speech: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Speech with a peak of 0.7, 0.1 s of silence before and 0.15 s after. [samples] float32 at 16 kHz."""
    speech = speech * (0.7 / max(1e-4, float(np.abs(speech).max())))
    return np.pad(speech, (SAMPLE_RATE // 10, SAMPLE_RATE * 3 // 20)).astype(np.float32)
