"""A file of JSON lines that only grows, a line at a time, so that a process killed at any moment loses none."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

# A killed process loses nothing that it wrote; a machine that loses power, what it wrote since.
_SYNC_SECS = 1.0


class Journal:
    """The lines of a file and one more, and one more. A context manager that closes it."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. A last line that was cut short by a crash is removed.

        Raises:
            ValueError: another line is no JSON object; it is named.
            OSError: the file cannot be read or written.
        """
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._synced = time.monotonic()
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        os.ftruncate(self._file, whole)
        self.lines = [_parse(line, number, path) for number, line in enumerate(data[:whole].splitlines(), 1)]

    def append(self, line: Mapping[str, Any]) -> None:
        """Write a line. It is in the file when this returns."""
        rest = memoryview((json.dumps(line, ensure_ascii=False) + "\n").encode(errors="surrogateescape"))
        while rest:
            rest = rest[os.write(self._file, rest) :]
        if time.monotonic() > self._synced + _SYNC_SECS:
            self.sync()

    def sync(self) -> None:
        """Have the disk keep what was written."""
        os.fsync(self._file)
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        """Return the journal."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.sync()
        os.close(self._file)


def _parse(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(line.decode(errors="surrogateescape")))
    except ValueError as error:
        raise ValueError(f"{path}, line {number} is no JSON object: {line[:80]!r}") from error
