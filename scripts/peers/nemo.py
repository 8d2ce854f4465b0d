"""NeMo's streaming loop as one of the compared: a process of its own, since NeMo lives in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from log_mel.mel import Float32
from scripts.peers.system import Run

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Nemo:
    """The loop; runs while its context lasts.

    Attributes:
        name: in the table.
        python: of NeMo's environment.
        checkpoint: the .nemo file.
        model_repo: whose attention context and chunks it takes.
        folder: for recordings and its log.
        threads: of torch.
    """

    name: str
    python: Path
    checkpoint: Path
    model_repo: Path
    folder: Path
    threads: int = 1
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def __enter__(self) -> Nemo:
        """Start it and load the checkpoint. Raises RuntimeError when it cannot."""
        command = [str(self.python), "-m", "scripts.peers.nemo_loop"]
        command += [str(self.checkpoint), str(self.model_repo), str(self.threads)]
        with (self.folder / "nemo.log").open("w") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def full_speed(self, waveforms: Sequence[Float32]) -> Run:
        """As `System.full_speed`; all streams step together, and features are computed before the first step."""
        return self._run("streaming", waveforms)

    def paced(self, waveforms: Sequence[Float32]) -> None:
        """As `System.paced`: there is no server."""

    def whole(self, waveforms: Sequence[Float32]) -> Run:
        """As `System.whole`."""
        return self._run("whole", waveforms)

    def _run(self, mode: str, waveforms: Sequence[Float32]) -> Run:
        path = self.folder / "waveforms.npy"
        np.save(path, np.stack(waveforms))
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("NeMo is not running")
        self._process.stdin.write(json.dumps({"mode": mode, "waveforms": str(path)}) + "\n")
        self._process.stdin.flush()
        return Run(**self._answer())

    def _answer(self) -> dict[str, Any]:
        if self._process is None or self._process.stdout is None:
            raise RuntimeError("NeMo is not running")
        for line in self._process.stdout:
            if line.startswith("{"):  # the rest is what NeMo prints while it is imported
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError(f"NeMo ended\n{(self.folder / 'nemo.log').read_text()[-2000:]}")
