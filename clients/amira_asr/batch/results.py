"""The folder of a batch: its manifest, its failures, its transcripts, and what it was made with.

manifest.jsonl    one line for each recording that is done, in NeMo's form
failed.jsonl      one line for each that failed in the latest run, with the reason
batch.json        model and options; a run with others is refused
transcripts/      one file each, if asked for
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from amira_asr.batch.items import Item, Key, key_of
from amira_asr.batch.journal import Journal
from amira_asr.events import Final
from amira_asr.output import OutputFormat, write


class ResultsError(ValueError):
    """The folder holds something else, or another run works in it."""


class Results:
    """Results of all runs of one batch. A context manager: no other run may work in the folder meanwhile."""

    def __init__(
        self, folder: Path, made_with: Mapping[str, Any], form: OutputFormat | None = None, root: Path = Path("/")
    ) -> None:
        """Prepare; nothing is written yet.

        Args:
            folder: for the results; made if need be.
            made_with: model and options, as JSON values.
            form: of a transcript file for each recording; None for none.
            root: folder of all recordings; transcript files lie as the recordings do in it.
        """
        self._folder = folder
        self._made_with = dict(made_with)
        self._form, self._root = form, root
        self._open = ExitStack()
        self.done: set[Key] = set()

    def __enter__(self) -> Results:
        """Read what is done already.

        Raises:
            ResultsError: another run is at work, the results were made with other options, or the manifest is damaged.
            OSError: the folder cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opening:
            try:
                opening.enter_context(FileLock(self._folder / ".lock", timeout=0))
            except Timeout:
                raise ResultsError(f"another run is at work in {self._folder}") from None
            self._check_options()
            try:
                self._manifest = opening.enter_context(Journal(self._folder / "manifest.jsonl"))
                self.done = {key_of(line) for line in self._manifest.lines}
            except (ValueError, KeyError) as error:
                raise ResultsError(f"{self._folder / 'manifest.jsonl'} is not what a batch writes: {error}") from error
            failed = self._folder / "failed.jsonl"
            failed.unlink(missing_ok=True)
            self._failed = opening.enter_context(Journal(failed))
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files, and let others work in the folder."""
        self._open.close()

    def add(self, item: Item, final: Final, duration_secs: float) -> None:
        """Write a result: first its transcript file, then the line that says it is done."""
        if self._form is not None:
            self._write_transcript(item, write(final, self._form, str(item.path)), self._form)
        self._manifest.append(item.result(final.text, duration_secs))
        self.done.add(item.key)

    def add_failure(self, item: Item, reason: str) -> None:
        """Write why an item failed."""
        self._failed.append({"audio_filepath": str(item.path), "offset": item.offset_secs, "error": reason})

    def _check_options(self) -> None:
        path = self._folder / "batch.json"
        if not path.exists():
            _replace(path, json.dumps(self._made_with, ensure_ascii=False, indent=1) + "\n")
            return
        try:
            earlier = dict(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ResultsError(f"{path} is not what a batch writes: {error}") from error
        differences = [
            f"{name} was {earlier.get(name)!r}, is {self._made_with.get(name)!r}"
            for name in {**earlier, **self._made_with}
            if earlier.get(name) != self._made_with.get(name)
        ]
        if differences:
            raise ResultsError(
                f"{self._folder} holds results made otherwise: {'; '.join(differences)}. Choose another --out"
            )

    def _write_transcript(self, item: Item, content: str, form: OutputFormat) -> None:
        part = f"@{item.offset_secs:g}" if item.offset_secs else ""
        relative = item.path.relative_to(self._root)
        # With its ending, so that a.wav and a.mp3 do not meet.
        path = self._folder / "transcripts" / relative.with_name(f"{relative.name}{part}{form.extension}")
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content + "\n")


def _replace(path: Path, content: str) -> None:
    """Write a file so that it is there as a whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)
    Path(temporary).replace(path)
