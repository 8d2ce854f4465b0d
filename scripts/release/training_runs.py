"""Which commands trained a checkpoint: a line in `runs.jsonl` for every start of the training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.measurement import circumstances

RUNS = "runs.jsonl"


@dataclass(frozen=True)
class TrainingRun:
    """One start of the training.

    Attributes:
        command: the command line.
        date: when it started, ISO 8601, UTC.
        revision: git revision of the code.
    """

    command: str
    date: str
    revision: str


def record_run(folder: Path) -> None:
    """Note this process as a training run in `folder/runs.jsonl`."""
    now = circumstances()
    run = TrainingRun(now["command"], now["date"], now["revision"])
    with (folder / RUNS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(run)) + "\n")


def read_runs(path: Path) -> list[TrainingRun]:
    """Read the runs of a file, oldest first; none when there is no such file."""
    if not path.is_file():
        return []
    return [TrainingRun(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
