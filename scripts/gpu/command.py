"""The command line that the parts of `make bench-gpu` share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

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


def device_name(device: str) -> str:
    """Return what figures are of."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"
