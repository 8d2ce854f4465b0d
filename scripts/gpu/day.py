"""All that can be measured on a GPU, in one command: `python -m scripts.gpu.day --out folder`.

The parts, each with a file of its own in the folder: the tests that need a GPU, the served encoder (`served.py`),
features and search beside it (`steps.py`), the whole pipeline under Triton (`pipeline.py`), and encoders of 0.6B and
114M parameters (`scripts/bench_gpu.py`). A part that cannot be run says why, and the others go on. Called again, it
goes on where the last call stopped; the exit status is 3 as long as figures are missing, 1 when a part failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

_TESTS = [f"tests/backends/test_{name}.py" for name in ("runners", "torch_log_mel", "torch_search")]
# Parts and their share of the time, what decides most first.
_PARTS = {
    "scripts.gpu.served": 0.15,
    "scripts.gpu.steps": 0.1,
    "scripts.gpu.pipeline": 0.4,
    "scripts.bench_gpu": 0.35,
}
_OF_A_REPOSITORY = ("scripts.gpu.served", "scripts.gpu.steps", "scripts.gpu.pipeline")
_MISSING = 3


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of this GPU's figures")
    parser.add_argument("--model-repo", type=Path, default=Path("model-repo"), help="what is served and measured")
    parser.add_argument("--minutes", type=float, default=20.0, help="for all parts together")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="everything small, to try the command")
    parser.add_argument("--parts", nargs="*", choices=["tests", *_PARTS], default=["tests", *_PARTS])
    arguments = parser.parse_args()
    options = ["--device", arguments.device, *(["--tiny"] if arguments.tiny else [])]
    ends: dict[str, int] = {}
    if "tests" in arguments.parts:
        ends["tests"] = _run(["pytest", "-q", "-rs", "--confcutdir=tests/backends", *_TESTS])
    for part, share in _PARTS.items():
        if part in arguments.parts:
            out = arguments.out / f"{part.rpartition('.')[2]}.json"
            served = ["--model-repo", str(arguments.model_repo)] if part in _OF_A_REPOSITORY else []
            minutes = f"{share * arguments.minutes:g}"
            ends[part] = _run([part, "--out", str(out), "--minutes", minutes, *served, *options])
    for part, status in ends.items():
        said = {0: "done", _MISSING: "call again to go on"}.get(status, f"failed with status {status}")
        print(f"{part}: {said}")
    if set(ends.values()) <= {0, _MISSING}:
        return max(ends.values())
    return 1


def _run(command: list[str]) -> int:
    print("#", *command, flush=True)
    began = time.monotonic()
    status = subprocess.run([sys.executable, "-m", *command], check=False).returncode
    print(f"# {time.monotonic() - began:.0f} s", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
