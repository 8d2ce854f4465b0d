"""All that can be measured on a GPU, in one command: `python -m scripts.gpu.day --out folder`.

First the tests that need a GPU, and the graphs in FP16 where the repository has none. Then the parts, each with a file
of its own in the folder: the served encoder (`served.py`), features and search beside it (`steps.py`), the whole
pipeline under Triton (`pipeline.py`), and encoders of 0.6B and 114M parameters (`scripts/bench_gpu.py`). What cannot be
run says why, and the others go on. Called again, it goes on where the last call stopped; the exit status is 3 as long
as figures are missing, 1 when a part failed.
"""

from __future__ import annotations

import argparse
import json
import signal
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
_GRAPHS = ("encoder", "encoder_batch", "decoder_joint", "decoder_greedy")
_MISSING = 3


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of this GPU's figures")
    parser.add_argument("--model-repo", type=Path, default=Path("model-repo"), help="what is served and measured")
    parser.add_argument("--minutes", type=float, default=20.0, help="for all parts together")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="everything small, to try the command")
    every = ["tests", "graphs", *_PARTS]
    parser.add_argument("--parts", nargs="*", choices=every, default=every)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = ["--device", arguments.device, *(["--tiny"] if arguments.tiny else [])]
    ends: dict[str, int] = {}
    if "tests" in arguments.parts:
        ends["tests"] = _run(["pytest", "-q", "-rs", "--confcutdir=tests/backends", *_TESTS])
    if "graphs" in arguments.parts and _graphs_are_missing(arguments.model_repo):
        ends["graphs"] = _run(["scripts.engines", "graphs", "--model-repo", str(arguments.model_repo)])
    not_run: dict[str, list[str]] = {}
    for part, share in _PARTS.items():
        if part in arguments.parts:
            out = arguments.out / f"{part.rpartition('.')[2]}.json"
            served = ["--model-repo", str(arguments.model_repo)] if part in _OF_A_REPOSITORY else []
            minutes = f"{share * arguments.minutes:g}"
            ends[part] = _run([part, "--out", str(out), "--minutes", minutes, *served, *options])
            cells = json.loads(out.read_text(encoding="utf-8"))["cells"] if out.exists() else {}
            not_run[part] = [key for key, cell in cells.items() if "not_run" in cell]
    for part, status in ends.items():
        said = {0: "done", _MISSING: "call again to go on"}.get(status, f"failed with status {status}")
        left_out = f"; could not be run: {', '.join(not_run[part])}" if not_run.get(part) else ""
        print(f"{part}: {said}{left_out}")
    if set(ends.values()) <= {0, _MISSING}:
        return max(ends.values())
    return 1


def _run(command: list[str]) -> int:
    print("#", *command, flush=True)
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *command])
    try:
        status = process.wait()
    finally:
        if process.poll() is None:  # cut off: a part stops the server that it started
            process.terminate()
            process.wait()
    print(f"# {time.monotonic() - began:.0f} s", flush=True)
    return status


def _graphs_are_missing(repository: Path) -> bool:
    """Whether a graph has no copy in FP16, or an older one."""
    graphs = [repository / model / "1" / "model.onnx" for model in _GRAPHS]
    pairs = [(graph, graph.with_name("model.fp16.onnx")) for graph in graphs if graph.exists()]
    return any(not half.exists() or half.stat().st_mtime < full.stat().st_mtime for full, half in pairs)


if __name__ == "__main__":
    sys.exit(main())
