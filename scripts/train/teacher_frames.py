"""What the teacher heard in the packed speech, written by `teacher.py`, beside the shards."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from scripts.train.corpus import SAMPLE_RATE, Utterance, read_index

WIDTH = 320
FRAME_SAMPLES = SAMPLE_RATE // 25  # one frame of the teacher is 40 ms
SUFFIX = ".teacher.f16"

Frames = npt.NDArray[np.float16]


def frames_in(samples: int) -> int:
    """Frames that the teacher gives for a recording."""
    return -(-samples // FRAME_SAMPLES)


class TeacherFrames:
    """The teacher's frames of packed utterances, through memory maps."""

    def __init__(self, folder: Path) -> None:
        """Find the frames of every utterance of a packed folder.

        Raises:
            FileNotFoundError: a shard has none.
        """
        filled: dict[str, int] = {}
        self._starts: dict[tuple[str, int], int] = {}
        for utterance in read_index(folder):
            start = filled.get(utterance.shard, 0)
            self._starts[utterance.shard, utterance.start] = start
            filled[utterance.shard] = start + frames_in(utterance.samples)
        self._maps = {}
        for shard, frames in filled.items():
            path = folder / f"{shard}{SUFFIX}"
            if not path.is_file():
                raise FileNotFoundError(f"no {path}: run `python -m scripts.train.teacher` first")
            self._maps[shard] = np.memmap(path, np.float16, mode="r", shape=(frames, WIDTH))

    def statistics(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Mean and standard deviation of each dimension, FP32 [WIDTH], over every hundredth frame."""
        sample = np.concatenate([frames[::100] for frames in self._maps.values()]).astype(np.float32)
        return sample.mean(0), sample.std(0).clip(min=1e-4)

    def __call__(self, utterance: Utterance) -> Frames:
        """Frames [frames, WIDTH] of one utterance."""
        start = self._starts[utterance.shard, utterance.start]
        return self._maps[utterance.shard][start : start + frames_in(utterance.samples)]
