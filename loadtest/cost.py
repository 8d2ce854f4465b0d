"""Where the processor time of a chunk goes, process by process, with callers at the pace of speech.

    python -m loadtest.cost [--streams 1 8 32 64] [--out figures.json]

Servers that differ in one setting take turns, round by round, and medians are reported: with the joint called by BLS
and in the decoder's process, each with the batches that the first step makes by itself and with a window of 1 ms.
Processor time is what the kernel counts for each thread (`/proc/PID/task/TID/schedstat`, Linux). The same work in one
process, one chunk a call, is measured beside them. Below each table stand the threads of the first server that took
most, and how often each was woken for a chunk. On a machine that is busy with other things, streams fall behind the
pace of speech, chunks wait for each other and cost less: the latencies show it.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from loadtest.bench import ROOT, clip_speech, raw_round
from loadtest.closed_loop import run_streams
from loadtest.raw_pipeline import RawPipeline
from log_mel.mel import Float32
from scripts.measurement import write_measurement
from scripts.serving.server import TritonServer
from scripts.serving.staging import RepositorySettings
from scripts.serving.stubs import model_of
from scripts.serving.temporary import serve

SERVER = "tritonserver"
# What the others do meanwhile: publish metrics, answer the launcher.
PARTS = (SERVER, "preprocessor", "encoder", "decoder", "decoder_greedy")
WAYS = {
    "BLS": RepositorySettings(),
    "BLS, window 1 ms": RepositorySettings(batch_window_ms=1),
    "local": RepositorySettings(joint="local"),
    "local, window 1 ms": RepositorySettings(joint="local", batch_window_ms=1),
}


@dataclass(frozen=True)
class Thread:
    """What one thread of a server has done so far.

    Attributes:
        part: "tritonserver", or the model whose backend process it belongs to.
        cpu_ms: processor time.
        wakes: how often it was given a core.
    """

    part: str
    cpu_ms: float
    wakes: int


@dataclass(frozen=True)
class Row:
    """Medians over the rounds of one server with one number of streams. Processor milliseconds a chunk.

    Attributes:
        way: name of its settings.
        streams: at once.
        parts: by process; "others" are the models that no stream uses.
        total: of all processes.
        p50_ms: median latency of a chunk.
        p95_ms: 95th percentile.
        threads: of the latest round: part, processor milliseconds and wakes a chunk, the busiest first.
    """

    way: str
    streams: int
    parts: dict[str, float]
    total: float
    p50_ms: float
    p95_ms: float
    threads: list[tuple[str, float, float]]


@dataclass(frozen=True)
class _Round:
    parts: Mapping[str, float]
    latencies_ms: list[float]
    threads: list[tuple[str, float, float]]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32, 64], help="streams at once")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all servers, in turn (default 3)")
    parser.add_argument("--chunks", type=int, default=8, help="chunks per stream (default 8)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()

    raw = RawPipeline(arguments.model_repo)
    speech = clip_speech(arguments.chunks * raw.chunk_samples)
    with contextlib.ExitStack() as running:
        servers = {way: running.enter_context(serve(arguments.model_repo, WAYS[way])) for way in WAYS}
        for server in servers.values():
            run_streams(server.grpc_endpoint, speech(8), raw.chunk_samples)  # warm-up
        alone, rows = [], []
        for streams in arguments.streams:
            rounds: dict[str, list[_Round]] = {way: [] for way in servers}
            for _ in range(arguments.rounds):
                alone.append(raw_round(raw, speech(1))[0] * 1e3 / arguments.chunks)
                for way, server in servers.items():
                    rounds[way].append(_round(server, speech(streams), raw.chunk_samples))
            rows += [_row(way, streams, found) for way, found in rounds.items()]
            _print(rows[-len(servers) :])
    print(f"\nthe same work in one process, one chunk a call, without pauses: {statistics.median(alone):.2f} ms")
    if arguments.out:
        figures = {"chunk_secs": raw.chunk_samples / 16000, "rounds": arguments.rounds}
        figures |= {"raw_ms_per_chunk": statistics.median(alone), "rows": [asdict(row) for row in rows]}
        write_measurement(arguments.out, figures)
    return 0


def read_threads(pid: int) -> dict[tuple[int, int], Thread]:
    """Return all threads of a server and its backend processes, by process and thread ID."""
    found = {}
    root = psutil.Process(pid)
    for process in [root, *root.children()]:
        part = SERVER if process.pid == pid else model_of(process)
        for folder in Path(f"/proc/{process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
                nanoseconds, _, wakes = (folder / "schedstat").read_text().split()
                found[process.pid, int(folder.name)] = Thread(part, int(nanoseconds) / 1e6, int(wakes))
    return found


def _round(server: TritonServer, waveforms: Sequence[Float32], chunk_samples: int) -> _Round:
    before = read_threads(server.pid)
    pace = chunk_samples / 16000
    result = run_streams(server.grpc_endpoint, list(waveforms), chunk_samples, pace_secs=pace)
    chunks = len(result.latencies_ms)
    parts: defaultdict[str, float] = defaultdict(float)
    threads = []
    for key, now in read_threads(server.pid).items():
        then = before.get(key, Thread(now.part, 0.0, 0))
        spent = (now.cpu_ms - then.cpu_ms) / chunks
        parts[now.part if now.part in PARTS else "others"] += spent
        threads.append((now.part, spent, (now.wakes - then.wakes) / chunks))
    return _Round(parts, result.latencies_ms, sorted(threads, key=lambda item: -item[1])[:16])


def _row(way: str, streams: int, rounds: Sequence[_Round]) -> Row:
    latencies = [ms for one in rounds for ms in one.latencies_ms]
    return Row(
        way,
        streams,
        {part: statistics.median(one.parts[part] for one in rounds) for part in (*PARTS, "others")},
        statistics.median(sum(one.parts.values()) for one in rounds),
        float(np.percentile(latencies, 50)),
        float(np.percentile(latencies, 95)),
        rounds[-1].threads,
    )


def _print(rows: Sequence[Row]) -> None:
    print(f"\n{rows[0].streams} streams, processor ms a chunk; latency p50 / p95 ms")
    for row in rows:
        parts = "  ".join(f"{part} {spent:.2f}" for part, spent in row.parts.items())
        print(f"{row.way:20} {row.total:6.2f}   {parts}   {row.p50_ms:.0f} / {row.p95_ms:.0f}", flush=True)
    for part, spent, wakes in rows[0].threads:
        print(f"    {part:16} {spent:6.3f} ms, woken {wakes:.1f} times a chunk")


if __name__ == "__main__":
    sys.exit(main())
