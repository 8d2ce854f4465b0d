"""What a batch is to recognise: files, or parts of files, from folders, patterns and NeMo manifests."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32, load_audio
from amira_asr.errors import InvalidAudio
from amira_asr.recordings import find_recordings

_MANIFEST_SUFFIXES = {".json", ".jsonl", ".manifest", ".ndjson"}

Key: TypeAlias = tuple[str, float]


@dataclass(frozen=True)
class Item:
    """One recording, or a part of one.

    Attributes:
        path: absolute, without `..`.
        offset_secs: where the part begins.
        duration_secs: of the part; None for all that follows.
        fields: what else the manifest said about it.
    """

    path: Path
    offset_secs: float = 0.0
    duration_secs: float | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What makes it one of its kind in a batch."""
        return str(self.path), self.offset_secs

    def load(self) -> Float32:
        """Return [samples] at the model's rate. Raises InvalidAudio."""
        samples = load_audio(self.path, MODEL_SAMPLE_RATE)
        if not self.offset_secs and self.duration_secs is None:
            return samples
        first = round(self.offset_secs * MODEL_SAMPLE_RATE)
        count = len(samples) if self.duration_secs is None else round(self.duration_secs * MODEL_SAMPLE_RATE)
        part = samples[first : first + count]
        if not len(part):
            length = len(samples) / MODEL_SAMPLE_RATE
            raise InvalidAudio(f"{self.path}: nothing at offset {self.offset_secs:g} s; the recording has {length:g} s")
        return part

    def result(self, text: str, duration_secs: float) -> dict[str, Any]:
        """Return the line of the result: a manifest's own `text` stays, as what was really said."""
        line: dict[str, Any] = {"audio_filepath": str(self.path), "duration": round(duration_secs, 4)}
        if self.offset_secs:
            line["offset"] = self.offset_secs
        return {**line, "text": text, **self.fields, "pred_text": text}


def key_of(result: Mapping[str, Any]) -> Key:
    """Return the key of the item that a result line is about."""
    return str(result["audio_filepath"]), float(result.get("offset", 0.0))


def read_items(sources: Sequence[str]) -> list[Item]:
    """Return the items of files, folders, patterns and manifests, in order, each once.

    Raises:
        ValueError: a source that does not exist, a folder without audio, a line of a manifest that is none; named.
        OSError: a manifest that cannot be read.
    """
    items: dict[Key, Item] = {}
    for source in sources:
        path = Path(source)
        if path.suffix.lower() in _MANIFEST_SUFFIXES and path.is_file():
            found = list(_read_manifest(path))
        else:
            files = find_recordings(source)
            if files == [path] and not path.exists():
                raise ValueError(f"{source}: no such file or folder")
            found = [Item(_absolute(file)) for file in files]
        for item in found:
            items.setdefault(item.key, item)
    return list(items.values())


def common_folder(items: Sequence[Item]) -> Path:
    """Return the deepest folder that all items are in."""
    return Path(os.path.commonpath([item.path.parent for item in items]))


def _read_manifest(path: Path) -> Iterator[Item]:
    """Yield the items of a manifest in NeMo's form: one JSON object a line. Paths are relative to its folder."""
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            fields = dict(line)
            audio = path.parent / str(fields.pop("audio_filepath"))
            offset, duration = fields.pop("offset", None), fields.pop("duration", None)
            offset_secs = float(offset or 0.0)
            # Without an offset the duration is that of the file, which says it itself.
            duration_secs = None if offset is None or duration is None else float(duration)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}, line {number}: should be a JSON object with audio_filepath, and offset and duration in "
                f"seconds if it is a part of the file; not {text[:80]!r}"
            ) from error
        if not 0 <= offset_secs < math.inf or not (duration_secs is None or 0 < duration_secs < math.inf):
            raise ValueError(
                f"{path}, line {number}: offset is {offset}, duration {duration}; allowed: from 0, above 0"
            )
        yield Item(_absolute(audio), offset_secs, duration_secs, fields)


def _absolute(path: Path) -> Path:
    """Return a path from the root, free of `..`, so that a transcript never lies outside of the folder for them."""
    return path.resolve() if ".." in path.parts else path.absolute()
