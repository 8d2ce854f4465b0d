"""`python -m scripts.train.pack`: decode the recordings once into shards that training maps into memory.

Reads `train/train.tsv` (human speech) and `tts/index.tsv` (synthetic) of the speech folder, normalises their texts,
drops every utterance that contains a sentence of the evaluation set, and sets some voices aside for development:
all `kokhold` voices, whole speakers of speechocean762, and a tail of LJSpeech.
"""

import argparse
import csv
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from scripts.text_normalization import normalize
from scripts.train.corpus import SAMPLE_RATE, ShardWriter
from scripts.train.evaluation_text import EvaluationText

SOURCES = {
    "speechocean762-train": "so762",
    "LJSpeech-part": "lj",
    "kokoro": "kokoro",
    "kokoro2": "kokoro",
    "kokhold": "kokhold",
    "joe": "joe",
    "hibari": "hibari",
    "flite": "flite",
}
SKIPPED_ENGINES = {"espeak"}  # too unlike human speech: measured to be useless
MIN_SECONDS, MAX_SECONDS = 0.6, 15.0
DEV_SPEAKERS = 4  # of speechocean762, about 20 sentences each
DEV_LJ = 24


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def _read(path: Path) -> npt.NDArray[np.int16]:
    audio, rate = soundfile.read(path, dtype="int16")
    if rate != SAMPLE_RATE or audio.ndim != 1:
        raise ValueError(f"{path}: {rate} Hz, {audio.ndim} dimensions; expected {SAMPLE_RATE} Hz mono")
    return audio  # type: ignore[no-any-return]


def _read_all(paths: Iterable[Path]) -> Iterator[npt.NDArray[np.int16]]:
    """Decode files in order, on all cores: libsndfile works outside the interpreter's lock."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        yield from threads.map(_read, paths)


def _source(name: str) -> str:
    if name not in SOURCES:
        raise ValueError(f"unknown source '{name}'; known: {', '.join(SOURCES)}")
    return SOURCES[name]


class Packer:
    """Sorts utterances into one writer per source, and counts what was dropped and why."""

    def __init__(self, out: Path, evaluation: EvaluationText) -> None:
        self._out, self._evaluation = out, evaluation
        self._writers: dict[str, ShardWriter] = {}
        self.hours: dict[tuple[str, str], float] = defaultdict(float)
        self.dropped: dict[str, int] = defaultdict(int)

    def add(self, audio: npt.NDArray[np.int16], *, text: str, speaker: str, source: str, split: str) -> None:
        """Pack one utterance unless it is too short, too long, empty or an evaluation sentence."""
        text, seconds = normalize(text), len(audio) / SAMPLE_RATE
        if not text:
            self.dropped["no text"] += 1
        elif not MIN_SECONDS <= seconds <= MAX_SECONDS:
            self.dropped[f"outside {MIN_SECONDS}-{MAX_SECONDS} s"] += 1
        elif split == "train" and self._evaluation.overlaps(text):
            self.dropped["evaluation sentence"] += 1
        else:
            writer = self._writers.setdefault(source, ShardWriter(self._out, source))
            writer.add(audio, text=text, speaker=speaker, source=source, split=split)
            self.hours[source, split] += seconds / 3600

    def close(self) -> None:
        """Finish all shards."""
        for writer in self._writers.values():
            writer.close()


def pack_recordings(folder: Path, packer: Packer) -> None:
    """Human speech: one file per utterance. The last speakers and the last LJSpeech rows become dev."""
    rows = list(_rows(folder / "train.tsv"))
    speakers = sorted({row["speaker"] for row in rows if _source(row["source"]) == "so762"})
    dev = {("so762", speaker) for speaker in speakers[-DEV_SPEAKERS:]}
    dev_files = {row["path"] for row in [row for row in rows if _source(row["source"]) == "lj"][-DEV_LJ:]}
    for row, audio in zip(rows, _read_all(folder / row["path"] for row in rows), strict=True):
        source = _source(row["source"])
        split = "dev" if (source, row["speaker"]) in dev or row["path"] in dev_files else "train"
        packer.add(audio, text=row["text"], speaker=row["speaker"], source=source, split=split)


def pack_synthetic(folder: Path, packer: Packer) -> None:
    """Synthetic speech: long files with slices. The `kokhold` voices are dev."""
    rows = [row for row in _rows(folder / "index.tsv") if row["engine"] not in SKIPPED_ENGINES]
    files = [(name, list(slices)) for name, slices in groupby(rows, key=lambda row: row["file"])]
    for (_, slices), audio in zip(files, _read_all(folder / name for name, _ in files), strict=True):
        for row in slices:
            start, source = int(row["start_sample"]), _source(row["engine"])
            split = "dev" if source == "kokhold" else "train"
            piece = audio[start : start + int(row["samples"])]
            packer.add(piece, text=row["text"], speaker=row["voice"], source=source, split=split)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Pack speech for training.")
    parser.add_argument("--speech", type=Path, default=Path("../shared/speech"), help="folder with train, tts, eval")
    parser.add_argument("--tts", type=Path, nargs="*", default=[], help="more synthetic folders with an index.tsv")
    parser.add_argument("--out", type=Path, default=Path("work/packed"))
    parser.add_argument("--force", action="store_true", help="pack again although OUT is there")
    arguments = parser.parse_args()
    out: Path = arguments.out
    if (out / "ready").exists() and not arguments.force:
        print(f"{out} is packed already; --force packs again")
        return
    for folder in arguments.tts:
        if not (folder / "index.tsv").is_file():
            parser.error(f"--tts is {folder}, which has no index.tsv; `python -m scripts.train.synthesize` writes one")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    packer = Packer(out, EvaluationText.read(arguments.speech / "eval" / "eval.tsv"))
    pack_recordings(arguments.speech / "train", packer)
    for folder in [arguments.speech / "tts", *arguments.tts]:
        pack_synthetic(folder, packer)
    packer.close()
    for (source, split), hours in sorted(packer.hours.items()):
        print(f"{source:10s} {split:6s} {hours:6.2f} h")
    for reason, count in packer.dropped.items():
        print(f"dropped {count:5d}: {reason}")
    (out / "ready").touch()


if __name__ == "__main__":
    main()
