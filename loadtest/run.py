"""A load test in one command: starts a server, sends Locust's users, samples the server's processes, gives a verdict.

    python -m loadtest.run --shape ramp --peak 64 --seconds 120 --slo p95=300,errors=0
    python -m loadtest.run --shape constant --peak 32 --seconds 14400 --resume      # a soak; goes on where it stopped

`--out` gets Locust's statistics (CSV and HTML with plots), totals.json, processes.csv; `--figures` the figures of docs.
The exit status is 0 when the objectives are met.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from loadtest.processes import ProcessSampler, growth, server_processes, slopes
from loadtest.shapes import SHAPES
from loadtest.slo import parse
from scripts.measurement import write_measurement
from scripts.serving.staging import RepositorySettings
from scripts.serving.temporary import serve

ROOT = Path(__file__).resolve().parents[1]
USERS = ("StreamUser", "BatchUser")
# A soak is cut into parts, so that little is lost when it is stopped.
_PART_SECS = 600.0
UNLIMITED = RepositorySettings(max_concurrent_streams=10_000)


def main() -> int:
    """Command line."""
    arguments = _parse()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    done = _elapsed(out) if arguments.resume else 0.0
    if not done:
        for path in out.glob("*"):
            path.unlink()
    status = 0
    with serve(arguments.model_repo, UNLIMITED) as server:
        while done < arguments.seconds:
            seconds = min(_PART_SECS, arguments.seconds - done) if arguments.resume else arguments.seconds
            part = out / f"part-{int(done):06d}" if arguments.resume else out / "load"
            with ProcessSampler(server.pid, out / "processes.csv", every_secs=arguments.every, elapsed_secs=done):
                status |= run_locust(server.grpc_endpoint, part, arguments, seconds)
            done += seconds
            (out / "elapsed.json").write_text(json.dumps(done))
            summarize(server.pid, part.with_suffix(".json"))
    memory = growth(out / "processes.csv")
    for process, (first, last) in memory.items():
        print(f"private memory of {process}: {first:.0f} MB at the start, {last:.0f} MB at the end")
    for process, (memory_slope, handle_slope) in slopes(out / "processes.csv").items():
        print(f"{process} gained {memory_slope:.1f} MB and {handle_slope:.1f} handles an hour after the first quarter")
    if arguments.figures:
        load = {"shape": arguments.shape, "peak": arguments.peak, "seconds": done, "users": arguments.users}
        totals = sorted(path for path in out.glob("*.json") if path.name.startswith(("load", "part-")))
        write_measurement(arguments.figures, {**load, **combined(totals, out / "processes.csv")})
    return status


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="constant")
    parser.add_argument("--peak", type=int, default=8, help="most users")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--users", nargs="+", choices=USERS, default=["StreamUser"], help="kinds of users, mixed evenly"
    )
    parser.add_argument("--slo", default="errors=0", help="p95=MS, errors=PERCENT, late=PERCENT, separated by commas")
    parser.add_argument("--recordings", type=Path, help="folder of what users say (default: the bundled clips)")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    parser.add_argument("--out", type=Path, default=Path("work/loadtest"))
    parser.add_argument("--figures", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between samples of the processes")
    parser.add_argument("--resume", action="store_true", help="in parts of ten minutes; go on where --out stopped")
    arguments = parser.parse_args()
    try:
        parse(arguments.slo)
    except ValueError as error:
        parser.error(str(error))
    return arguments


def run_locust(
    endpoint: str,
    part: Path,
    arguments: argparse.Namespace,
    seconds: float,
    *,
    finish_secs: int = 60,
    quiet: bool = False,
) -> int:
    """Run Locust in a process of its own, since it patches the standard library; return its exit status.

    Calls under way at the end have `finish_secs` more: cut off, short calls would count for more than they are.

    Raises:
        RuntimeError: Locust ended without results.
    """
    totals = part.with_suffix(".json")
    totals.unlink(missing_ok=True)  # those of an earlier run
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py"), *arguments.users]
    command += ["--headless", "--host", endpoint, "--only-summary", "--loglevel", "ERROR"]
    command += [
        "--csv",
        str(part),
        "--html",
        str(part.with_suffix(".html")),
        "--totals",
        str(totals),
    ]
    command += ["--shape", arguments.shape, "--peak", str(arguments.peak), "--seconds", str(seconds)]
    command += ["--slo", arguments.slo, "--stop-timeout", str(finish_secs)]
    if arguments.recordings:
        command += ["--recordings", str(arguments.recordings)]
    output = subprocess.DEVNULL if quiet else None
    status = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, check=False).returncode
    if not totals.exists():
        raise RuntimeError(f"Locust ended with status {status} and without results")
    return status


def summarize(pid: int, totals: Path) -> None:
    """Print what Locust has no column for."""
    figures = json.loads(totals.read_text())
    cpu_secs = 0.0
    for process in server_processes(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            cpu_secs += times.user + times.system
    audio = figures["audio_secs"]
    print(
        f"{figures['streams']} streams, {figures['hang_ups']} hung up, {figures['reconnects']} called again; "
        f"{audio:.0f} s of audio; late chunks {figures['late_chunks']}; "
        f"processor time of the server since its start {cpu_secs:.0f} s"
    )
    for kind, count in figures["errors"].items():
        print(f"{count} x {kind}")


def combined(totals: list[Path], processes: Path) -> dict[str, Any]:
    """Return the figures of all parts of a run together, with the memory of the server's processes."""
    parts = [json.loads(path.read_text()) for path in totals]
    kinds = ("chunk_ms", "first_partial_ms", "final_ms", "recording_ms")
    percentiles = {}
    for kind in kinds:
        values = [value for part in parts for value in part[kind]]
        percentiles[kind] = [round(float(item), 1) for item in np.percentile(values, [50, 95, 99])] if values else None
    memory = growth(processes)
    counts = {key: sum(part[key] for part in parts) for key in ("streams", "hang_ups", "reconnects", "late_chunks")}
    return {
        **counts,
        **percentiles,
        "chunks": sum(len(part["chunk_ms"]) for part in parts),
        "recordings": sum(len(part["recording_ms"]) for part in parts),
        "errors": sum(sum(part["errors"].values()) for part in parts),
        "audio_secs": round(sum(part["audio_secs"] for part in parts), 1),
        "memory_mb": [round(sum(pair[side] for pair in memory.values()), 1) for side in (0, 1)],
    }


def _elapsed(out: Path) -> float:
    path = out / "elapsed.json"
    return float(json.loads(path.read_text())) if path.exists() else 0.0


if __name__ == "__main__":
    sys.exit(main())
