"""The most streams at real time: `python -m loadtest.capacity`.

Doubles the number of callers, then halves the distance, until the 99th percentile of chunk latency reaches the
length of a chunk or there is an error. One server throughout; the callers share its cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

from loadtest.run import ROOT, UNLIMITED, run_locust
from scripts.measurement import write_measurement
from scripts.serving.temporary import serve


def main() -> int:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    parser.add_argument("--first", type=int, default=32, help="streams to begin with")
    parser.add_argument("--seconds", type=float, default=30.0, help="duration of one trial")
    parser.add_argument(
        "--precision", type=int, default=8, help="streams between the last good and the first bad trial"
    )
    parser.add_argument("--work", type=Path, default=Path("work/capacity"))
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    good, bad, trials = 0, 0, []
    with serve(arguments.model_repo, UNLIMITED) as server:
        while not bad or bad - good > arguments.precision:
            streams = (good + bad) // 2 if bad else max(arguments.first, 2 * good)
            trial = try_streams(server.grpc_endpoint, streams, arguments)
            if (status := server.poll()) is not None:
                log = server.log_tail()
                print(f"the server ended with status {status} under {streams} streams:\n{log}", file=sys.stderr)
                return 1
            trials.append(trial)
            latency = f"p50 {trial['p50_ms']:.0f} ms, p99 {trial['p99_ms']:.0f} ms"
            outcome = "kept up" if trial["kept_up"] else "too many"
            print(
                f"{streams} streams: {latency}, {trial['errors']} errors, {trial['late']} late: {outcome}", flush=True
            )
            good, bad = (streams, bad) if trial["kept_up"] else (good, streams)
    cores = len(os.sched_getaffinity(0))
    print(f"{good} streams at real time on {cores} cores, {good / cores:.0f} a core; the callers included")
    if arguments.out:
        write_measurement(arguments.out, {"streams": good, "cores": cores, "trials": trials})
    return 0 if good else 1


def try_streams(endpoint: str, streams: int, arguments: argparse.Namespace) -> dict[str, float | int | bool]:
    """Let so many callers speak for a while, without pauses between calls that would make room."""
    part = arguments.work / f"{streams}"
    options = argparse.Namespace(users=["StreamUser"], shape="constant", peak=streams, slo="errors=0", recordings=None)
    run_locust(endpoint, part, options, arguments.seconds, quiet=True)
    totals = json.loads(part.with_suffix(".json").read_text())
    latencies = totals["chunk_ms"] or [float("inf")]
    p50, p99 = (float(np.percentile(latencies, share)) for share in (50, 99))
    errors = sum(totals["errors"].values())
    return {
        "streams": streams,
        "p50_ms": round(p50, 1),
        "p99_ms": round(p99, 1),
        "errors": errors,
        "late": totals["late_chunks"],
        "kept_up": p99 < totals["chunk_length_ms"] and not errors,
    }


if __name__ == "__main__":
    sys.exit(main())
