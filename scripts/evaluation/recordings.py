"""The evaluation sets: real recordings, and slices of synthetic voices that training never hears."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32, load_audio
from scripts.text_normalization import normalize

# Set aside by scripts/train/pack.py, too.
HELD_OUT_ENGINE = "kokhold"


@dataclass(frozen=True)
class Utterance:
    """One recording of the evaluation set.

    Attributes:
        name: file name, with the first sample for a slice of a longer file.
        subset: what it is reported under.
        audio: [samples] float32, 16 kHz.
        reference: normalised text.
        synthetic: spoken by a machine; never counted among the real recordings.
    """

    name: str
    subset: str
    audio: Float32
    reference: str
    synthetic: bool = False

    @property
    def seconds(self) -> float:
        """Duration of the audio."""
        return len(self.audio) / MODEL_SAMPLE_RATE


def read_real(folder: Path) -> list[Utterance]:
    """Read `eval.tsv` (columns path, text) and the recordings it names; subset is the file name up to its first "-".

    Raises:
        FileNotFoundError: the folder has no eval.tsv.
        ValueError: a reference is empty after normalisation.
    """
    table = folder / "eval.tsv"
    return [
        Utterance(row["path"], row["path"].split("-")[0], load_audio(folder / row["path"]), _reference(row, table))
        for row in _rows(table)
    ]


def read_held_out(folder: Path) -> list[Utterance]:
    """Read the slices of held-out voices that `index.tsv` (file, start_sample, samples, engine, text) names.

    Raises:
        FileNotFoundError: the folder has no index.tsv.
        ValueError: a slice ends behind its file, or a reference is empty after normalisation.
    """
    table = folder / "index.tsv"
    utterances = []
    name, audio = "", None
    for row in _rows(table):
        if row["engine"] != HELD_OUT_ENGINE:
            continue
        if audio is None or row["file"] != name:
            name, audio = row["file"], load_audio(folder / row["file"])
        start = int(row["start_sample"])
        end = start + int(row["samples"])
        if end > len(audio):
            raise ValueError(f"{table}: a slice of {name} ends at sample {end}; the file has {len(audio)}")
        utterances.append(
            Utterance(f"{name}@{start}", HELD_OUT_ENGINE, audio[start:end], _reference(row, table), synthetic=True)
        )
    return utterances


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def _reference(row: dict[str, str], table: Path) -> str:
    reference = normalize(row["text"])
    if not reference:
        raise ValueError(f"{table}: a text is empty after normalisation: {row['text']!r}")
    return reference
