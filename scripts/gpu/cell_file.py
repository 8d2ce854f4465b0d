"""Figures of one device in a file, a cell at a time: a run that is cut off keeps what it measured and goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.measurement import circumstances


class CellFile:
    """A JSON file of cells by key."""

    def __init__(self, path: Path, device: str) -> None:
        """Read the file if there is one. Raises ValueError when it has figures of another device."""
        self.path = path
        self._figures: dict[str, Any] = {"device": device, "cells": {}}
        if path.exists():
            self._figures = json.loads(path.read_text(encoding="utf-8"))
        if self._figures["device"] != device:
            raise ValueError(f"{path} has figures of {self._figures['device']}; this is {device}: choose another file")
        self._figures["measured"] = circumstances()

    @property
    def cells(self) -> dict[str, Any]:
        """What was measured, by key."""
        cells: dict[str, Any] = self._figures["cells"]
        return cells

    def put(self, key: str, cell: dict[str, Any]) -> None:
        """Add a cell and write the file."""
        self.cells[key] = cell
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self._figures, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.path)

    def complete(self, keys: Sequence[str], measure: Callable[[str], dict[str, Any]], minutes: float) -> int:
        """Measure the cells that are missing until the time is over; return how many are missing still.

        A cell that could not be run for a reason (`not_run`) is tried again, after those that were never tried.
        """
        deadline = time.monotonic() + 60 * minutes
        failed = [key for key in keys if "not_run" in self.cells.get(key, {})]
        missing = [key for key in keys if key not in self.cells] + failed
        for index, key in enumerate(missing):
            if time.monotonic() > deadline:
                return len(missing) - index
            self.put(key, measure(key))
        return 0
