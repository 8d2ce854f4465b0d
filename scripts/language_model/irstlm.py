"""Estimates n-gram models with IRSTLM (Debian's package `irstlm`)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

# KenLM's Python package is built for no more than six.
ORDER = 5
# The weighted loss of log probability below which an n-gram goes: 4 MB instead of 32, perplexity within 2 %.
PRUNE_THRESHOLD = 3e-6


def estimate(
    sentences: Iterable[Iterable[str]], out: Path, *, order: int = ORDER, threshold: float = PRUNE_THRESHOLD
) -> None:
    """Estimate a model with shift-beta smoothing, prune it, and write it as ARPA text.

    Modified Kneser-Ney has no discounts for a vocabulary as small as that of tokens: none of them is rare.

    Args:
        sentences: words of each sentence.
        out: file to write.
        order: words of the longest n-gram.
        threshold: see `PRUNE_THRESHOLD`.

    Raises:
        FileNotFoundError: IRSTLM is not installed.
        RuntimeError: it failed; with its last words.
    """
    if shutil.which("irstlm") is None:
        raise FileNotFoundError("no program irstlm; install Debian's package irstlm")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        text, whole = Path(folder) / "text", Path(folder) / "whole.arpa"
        text.write_text("".join(f"<s> {' '.join(words)} </s>\n" for words in sentences), encoding="utf-8")
        _run("tlm", f"-tr={text}", f"-n={order}", "-lm=sb", "-ps=no", f"-oarpa={whole}", made=whole)
        _run("prune-lm", f"--threshold={threshold}", str(whole), str(out), made=out)


def _run(*command: str, made: Path) -> None:
    made.unlink(missing_ok=True)
    result = subprocess.run(["irstlm", *command], capture_output=True, text=True, check=False)
    # IRSTLM reports some errors with status 0 and no output file.
    if result.returncode or not made.is_file():
        raise RuntimeError(f"irstlm {command[0]} failed: {(result.stdout + result.stderr)[-500:]}")
