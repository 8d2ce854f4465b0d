"""What the users of a load test say: real recordings, alone or a few in a row with pauses."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32, load_audio

BUNDLED = Path(__file__).resolve().parents[1] / "tests" / "data" / "audio"
_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}


@dataclass(frozen=True)
class Recordings:
    """Recordings in memory, [samples] float32 each."""

    pieces: tuple[Float32, ...]

    @staticmethod
    def read(folder: Path = BUNDLED) -> Recordings:
        """Read every recording of a folder. Raises FileNotFoundError when there is none."""
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
        if not files:
            raise FileNotFoundError(f"{folder} has no recordings ({', '.join(sorted(_SUFFIXES))})")
        return Recordings(tuple(load_audio(path) for path in files))

    def utterance(self, source: random.Random) -> Float32:
        """Return one of them."""
        return source.choice(self.pieces)

    def turn(self, source: random.Random) -> Float32:
        """Return what one caller says: one to four recordings with pauses of 0.3 to 1.5 s."""
        parts: list[Float32] = []
        for _ in range(source.choice([1, 1, 2, 3, 4])):
            pause = np.zeros(int(source.uniform(0.3, 1.5) * MODEL_SAMPLE_RATE), np.float32)
            parts += [self.utterance(source), pause]
        return np.concatenate(parts)
