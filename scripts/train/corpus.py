"""Packed speech: int16 shards beside JSON-lines indexes, read through memory maps."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
SHARD_SAMPLES = 2 * 3600 * SAMPLE_RATE  # two hours: 230 MB


@dataclass(frozen=True)
class Utterance:
    """One transcribed recording inside a shard.

    Attributes:
        shard: file name of the shard without suffix.
        start: first sample in the shard.
        samples: length in samples at 16 kHz.
        text: normalised transcript.
        speaker: speaker or voice.
        source: corpus or engine; the unit of the sampling mix.
        split: `train` or `dev`.
    """

    shard: str
    start: int
    samples: int
    text: str
    speaker: str
    source: str
    split: str

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples / SAMPLE_RATE


class ShardWriter:
    """Writes `NAME-00.i16` and `NAME-00.jsonl`, `NAME-01…`: at most two hours of speech in each."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name, self._number, self._filled = folder, name, -1, SHARD_SAMPLES

    def _roll(self) -> None:
        self.close()
        self._number, self._filled = self._number + 1, 0
        stem = self._folder / self.shard
        self._audio, self._index = stem.with_suffix(".i16").open("wb"), stem.with_suffix(".jsonl").open("w")

    @property
    def shard(self) -> str:
        """Name of the shard being written."""
        return f"{self._name}-{self._number:02d}"

    def add(self, audio: npt.NDArray[np.int16], *, text: str, speaker: str, source: str, split: str) -> None:
        """Append one utterance: mono int16 samples at 16 kHz."""
        if self._filled + len(audio) > SHARD_SAMPLES:
            self._roll()
        utterance = Utterance(self.shard, self._filled, len(audio), text, speaker, source, split)
        self._audio.write(audio.astype("<i2").tobytes())
        self._index.write(json.dumps(asdict(utterance)) + "\n")
        self._filled += len(audio)

    def close(self) -> None:
        """Close the shard being written, if any."""
        if self._number >= 0:
            self._audio.close()
            self._index.close()

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Corpus:
    """All utterances of one split of a packed folder, with their audio."""

    def __init__(self, folder: Path, split: str) -> None:
        """Read every index of `folder`.

        Raises:
            FileNotFoundError: the folder holds no utterance of this split.
        """
        self._folder = folder
        self.utterances = [utterance for utterance in read_index(folder) if utterance.split == split]
        if not self.utterances:
            raise FileNotFoundError(f"no '{split}' utterance in {folder}; run `python -m scripts.train.pack` first")
        self._shards: dict[str, npt.NDArray[np.int16]] = {}

    def __len__(self) -> int:
        return len(self.utterances)

    def audio(self, index: int) -> npt.NDArray[np.float32]:
        """Samples of one utterance, float32 in [-1, 1]."""
        utterance = self.utterances[index]
        if utterance.shard not in self._shards:
            path = self._folder / f"{utterance.shard}.i16"
            self._shards[utterance.shard] = np.memmap(path, dtype="<i2", mode="r")
        samples = self._shards[utterance.shard][utterance.start : utterance.start + utterance.samples]
        return samples.astype(np.float32) / 32768


def read_index(folder: Path) -> Iterator[Utterance]:
    """Every utterance of every split, shards in name order."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            yield Utterance(**json.loads(line))
