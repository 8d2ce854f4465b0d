"""Overhead of the server over the raw computation, chunk latency, and streams at real time, in one run.

    python -m loadtest.bench [--out figures.json]

For each number of streams, rounds of the raw pipeline (mel, ONNX Runtime, search; one process, one thread, one batch
per step) and of the server take turns, and medians are reported. The overhead of a chunk is the processor time that
all server processes spent on it beyond what the raw pipeline spent: processor time, because the server spreads over
the cores while the raw pipeline does not, and because the load client shares the same cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from amira_asr.audio import load_audio
from loadtest.closed_loop import run_streams
from loadtest.raw_pipeline import RawPipeline
from log_mel.mel import Float32
from scripts.measurement import write_measurement
from scripts.serving.server import TritonServer
from scripts.serving.staging import RepositorySettings
from scripts.serving.temporary import serve

ROOT = Path(__file__).resolve().parents[1]
STREAMS = (1, 8, 32)


@dataclass(frozen=True)
class Row:
    """Medians for one number of streams. Times in milliseconds.

    Those whose name begins with `local_joint` are of a server in which the decoder runs `decoder_joint` itself.
    """

    streams: int
    raw_cpu_ms_per_chunk: float
    server_cpu_ms_per_chunk: float
    overhead_ms_per_chunk: float
    overhead_wall_ms_per_chunk: float
    raw_wall_ms_per_chunk: float
    server_wall_ms_per_chunk: float
    closed_loop_p50_ms: float
    closed_loop_p95_ms: float
    streams_at_real_time: float
    paced_p50_ms: float
    paced_p95_ms: float
    paced_p99_ms: float
    paced_final_p50_ms: float
    local_joint_server_cpu_ms_per_chunk: float
    local_joint_overhead_ms_per_chunk: float
    local_joint_streams_at_real_time: float


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of raw and server, in turn (default 5)")
    parser.add_argument("--chunks", type=int, default=16, help="chunks per stream (default 16)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()

    raw = RawPipeline(arguments.model_repo)
    chunk_secs = raw.chunk_samples / 16000
    speech = clip_speech(arguments.chunks * raw.chunk_samples)
    with serve(arguments.model_repo) as server, serve(arguments.model_repo, RepositorySettings(joint="local")) as local:
        for each in (server, local):
            run_streams(each.grpc_endpoint, speech(8), raw.chunk_samples)  # warm-up
        rows = [_measure(server, local, raw, speech(count), arguments.rounds) for count in STREAMS]
    print(
        f"{'streams':>8} {'raw CPU':>9} {'server CPU':>11} {'overhead':>9} {'p50':>8} {'p95':>8} {'paced p95':>10} "
        f"{'with a local joint: CPU':>24} {'overhead':>9}"
    )
    for row in rows:
        print(
            f"{row.streams:8d} {row.raw_cpu_ms_per_chunk:9.2f} {row.server_cpu_ms_per_chunk:11.2f} "
            f"{row.overhead_ms_per_chunk:9.2f} {row.closed_loop_p50_ms:8.1f} {row.closed_loop_p95_ms:8.1f} "
            f"{row.paced_p95_ms:10.1f} {row.local_joint_server_cpu_ms_per_chunk:24.2f} "
            f"{row.local_joint_overhead_ms_per_chunk:9.2f}"
        )
    print(f"(milliseconds per chunk of {chunk_secs * 1e3:.0f} ms; overhead = server CPU - raw CPU)")
    print(f"streams at real time, client on the same cores: {rows[-1].streams_at_real_time:.0f}")
    if arguments.out:
        write_measurement(
            arguments.out,
            {
                "chunk_secs": chunk_secs,
                "rounds": arguments.rounds,
                "overhead_ms_per_chunk": {str(row.streams): row.overhead_ms_per_chunk for row in rows},
                "rows": [asdict(row) for row in rows],
            },
        )
    return 0


def _measure(server: TritonServer, local: TritonServer, raw: RawPipeline, waveforms: list[Float32], rounds: int) -> Row:
    count = len(waveforms)
    chunk_secs = raw.chunk_samples / 16000
    chunks = count * (len(waveforms[0]) // raw.chunk_samples)
    raw_cpu, raw_wall, server_cpu, server_wall, latencies = [], [], [], [], []
    local_cpu, local_wall = [], []
    for _ in range(rounds):
        cpu, wall = raw_round(raw, waveforms)
        raw_cpu.append(cpu / chunks)
        raw_wall.append(wall / chunks)
        before = cpu_secs(server.pid)
        result = run_streams(server.grpc_endpoint, waveforms, raw.chunk_samples)
        server_cpu.append((cpu_secs(server.pid) - before) / chunks)
        server_wall.append(result.seconds / chunks)
        latencies.extend(result.latencies_ms)
        before = cpu_secs(local.pid)
        local_wall.append(run_streams(local.grpc_endpoint, waveforms, raw.chunk_samples).seconds / chunks)
        local_cpu.append((cpu_secs(local.pid) - before) / chunks)
    paced = run_streams(server.grpc_endpoint, waveforms, raw.chunk_samples, pace_secs=chunk_secs)
    median = statistics.median
    return Row(
        streams=count,
        raw_cpu_ms_per_chunk=median(raw_cpu) * 1e3,
        server_cpu_ms_per_chunk=median(server_cpu) * 1e3,
        overhead_ms_per_chunk=median(s - r for s, r in zip(server_cpu, raw_cpu, strict=True)) * 1e3,
        overhead_wall_ms_per_chunk=median(s - r for s, r in zip(server_wall, raw_wall, strict=True)) * 1e3,
        raw_wall_ms_per_chunk=median(raw_wall) * 1e3,
        server_wall_ms_per_chunk=median(server_wall) * 1e3,
        closed_loop_p50_ms=float(np.percentile(latencies, 50)),
        closed_loop_p95_ms=float(np.percentile(latencies, 95)),
        streams_at_real_time=chunk_secs / median(server_wall),
        paced_p50_ms=float(np.percentile(paced.latencies_ms, 50)),
        paced_p95_ms=float(np.percentile(paced.latencies_ms, 95)),
        paced_p99_ms=float(np.percentile(paced.latencies_ms, 99)),
        paced_final_p50_ms=float(np.percentile(paced.final_ms, 50)),
        local_joint_server_cpu_ms_per_chunk=median(local_cpu) * 1e3,
        local_joint_overhead_ms_per_chunk=median(s - r for s, r in zip(local_cpu, raw_cpu, strict=True)) * 1e3,
        local_joint_streams_at_real_time=chunk_secs / median(local_wall),
    )


def raw_round(raw: RawPipeline, waveforms: list[Float32]) -> tuple[float, float]:
    """Return processor and wall seconds of the raw pipeline over all chunks."""
    streams = [raw.open() for _ in waveforms]
    size = raw.chunk_samples
    cpu, wall = time.process_time(), time.perf_counter()
    with threadpool_limits(1):  # as in the server; BLAS threads would spin
        for start in range(0, len(waveforms[0]), size):
            chunks = [audio[start : start + size] for audio in waveforms]
            raw.step(streams, chunks, end=start + size >= len(waveforms[0]))
    spent = time.process_time() - cpu, time.perf_counter() - wall
    for stream in streams:
        raw.close(stream)
    return spent


def cpu_secs(pid: int) -> float:
    """Return processor seconds spent so far by the server and its backend processes."""
    root = psutil.Process(pid)
    times = [process.cpu_times() for process in [root, *root.children(recursive=True)]]
    return sum(item.user + item.system for item in times)


def clip_speech(samples: int) -> SpeechMaker:
    """Return what makes waveforms of the bundled recordings."""
    clips = [load_audio(path) for path in sorted((ROOT / "tests" / "data" / "audio").glob("*.flac"))]
    return SpeechMaker(np.concatenate(clips), samples)


@dataclass(frozen=True)
class SpeechMaker:
    """Makes waveforms of equal length from real speech, each beginning elsewhere."""

    source: Float32
    samples: int

    def __call__(self, count: int) -> list[Float32]:
        """Return `count` waveforms [samples]."""
        step = len(self.source) // count
        return [np.resize(np.roll(self.source, -index * step), self.samples) for index in range(count)]


if __name__ == "__main__":
    sys.exit(main())
