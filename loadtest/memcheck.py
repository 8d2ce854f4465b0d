"""Does Triton touch memory that it has freed? Its server under Valgrind, while streams run.

    python -m loadtest.memcheck [--kept-requests 8] [--streams 32] [--seconds 120]

Prints each fault with the functions that it happened in; the exit status is 1 when there was one. A race that ends a
server once in a hundred thousand chunks is seen in every thirtieth here, if other work keeps the cores busy meanwhile;
on an idle machine it may not be seen at all. Triton's own part computes some thirty times as slowly. Needs `valgrind`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path

from loadtest.bench import ROOT, clip_speech
from loadtest.closed_loop import run_streams
from scripts.serving.installation import find_triton
from scripts.serving.temporary import serve

_CHUNK_SAMPLES, _CHUNKS = 8960, 8
_START_SECS = 400.0
_SHOWN_FRAMES = 4
# Threads take turns at every call of the kernel, so that one may overtake another that has just answered.
_VALGRIND = "valgrind --tool=memcheck --leak-check=no --undef-value-errors=no --fair-sched=yes --xml=yes"

Fault = tuple[str, ...]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=32, help="streams at once (default 32)")
    parser.add_argument("--seconds", type=float, default=120, help="for how long (default 120)")
    parser.add_argument(
        "--kept-requests", type=int, help="Triton's --grpc-infer-allocation-pool-size, instead of the launcher's"
    )
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is not installed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        chunks, faults = run(Path(folder), arguments.streams, arguments.seconds, arguments.kept_requests)
    print(f"{chunks} chunks, {sum(faults.values())} faults")
    for (kind, *functions), count in faults.most_common():
        print(f"{count} x {kind}", *functions, sep="\n    ")
    return 1 if faults else 0


def run(folder: Path, streams: int, seconds: float, kept_requests: int | None) -> tuple[int, Counter[Fault]]:
    """Stream until the time is over.

    Args:
        folder: for Valgrind's report.
        streams: at once.
        seconds: of the streams.
        kept_requests: see `main`.

    Returns:
        how many chunks were answered, and each fault (its kind and the innermost functions) with how often it was seen.

    Raises:
        RuntimeError: the server did not start, or a stream failed.
    """
    report, wrapper, installation = folder / "faults.xml", folder / "tritonserver", find_triton()
    pool = "" if kept_requests is None else f" --grpc-infer-allocation-pool-size={kept_requests}"
    wrapper.write_text(f'#!/bin/sh\nexec {_VALGRIND} --xml-file={report} {installation.binary} "$@"{pool}\n')
    wrapper.chmod(0o755)
    speech, chunks, watched = clip_speech(_CHUNKS * _CHUNK_SAMPLES)(streams), 0, replace(installation, binary=wrapper)
    with serve(ROOT / "model-repo", start_timeout_secs=_START_SECS, installation=watched) as server:
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            run_streams(server.grpc_endpoint, list(speech), _CHUNK_SAMPLES)
            chunks += streams * _CHUNKS
    return chunks, _read(report)


def _read(report: Path) -> Counter[Fault]:
    faults: Counter[Fault] = Counter()
    document = ET.parse(report).getroot()  # noqa: S314  Valgrind wrote it
    seen = {pair.findtext("unique"): int(pair.findtext("count") or 1) for pair in document.iterfind("errorcounts/pair")}
    for error in document.iterfind("error"):
        kind, stack = error.findtext("kind") or "?", error.find("stack")
        if not kind.startswith("Invalid"):
            continue
        functions = [frame.findtext("fn") or "?" for frame in stack.iterfind("frame")] if stack is not None else []
        fault = (kind, *(name[:100] for name in functions[:_SHOWN_FRAMES]))
        faults[fault] += seen.get(error.findtext("unique"), 1)
    return faults


if __name__ == "__main__":
    sys.exit(main())
