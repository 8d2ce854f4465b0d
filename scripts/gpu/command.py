"""What the parts of `make bench-gpu` share: their command line, cells that fail, and what figures are of."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]


def parse(description: str | None, *, minutes: float, tiny: str) -> argparse.Namespace:
    """Read the arguments; ends with status 1 where there is no such device.

    Args:
        description: of the part, as it is to be printed.
        minutes: default of `--minutes`.
        tiny: help of `--tiny`.

    Returns:
        `out`, `model_repo`, `minutes`, `device` ("cuda" or "cpu"), `tiny`.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a present file is completed")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    parser.add_argument("--minutes", type=float, default=minutes, help="begin no cell after so long")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help=f"{tiny}, to try the command")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no GPU that this torch can use; --device cpu tries the command on a processor", file=sys.stderr)
        sys.exit(1)
    return arguments


def cell_or_reason(device: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of a cell, or why there are none (`not_run`); what the one before left on the device is freed.

    Any error is a reason: ONNX Runtime's are no RuntimeErrors, and the cells after it are wanted, too.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()  # others than torch allocate there, too
    try:
        return measure()
    except Exception as reason:
        return {"not_run": f"{type(reason).__name__}: {reason}"}


def device_gigabytes(device: str) -> float | None:
    """Return what all processes together have of the GPU's memory, this one included; None for a processor."""
    if device != "cuda":
        return None
    free, total = torch.cuda.mem_get_info()
    used: float = (total - free) / 1e9
    return used


def device_name(device: str) -> str:
    """Return what figures are of."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"
