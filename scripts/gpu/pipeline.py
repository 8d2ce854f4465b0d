"""The whole pipeline under Triton, graphs on a GPU, paced streams: `python -m scripts.gpu.pipeline --out figures.json`.

For each way to run the graphs and to call the joint a server is started, and more and more streams speak at real time
until the 99th percentile of the answers to chunks comes later than the next chunk. The callers share the machine.
"""

from __future__ import annotations

import itertools
import queue
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from loadtest.bench import clip_speech, cpu_secs
from loadtest.closed_loop import run_streams
from scripts.export.description import ModelDescription
from scripts.gpu.cell_file import CellFile
from scripts.gpu.command import device_gigabytes, device_name, parse
from scripts.serving.server import ServerStartError, TritonServer
from scripts.serving.staging import RepositorySettings
from scripts.serving.temporary import serve

ROOT = Path(__file__).resolve().parents[2]
STREAMS = (16, 64, 128, 256, 512, 1024)
# Most streams to a batch on a device.
BATCH = 256
JOINTS = ("local", "model")
# Put behind a way: the features on the device, too.
FEATURES = "features"
# TensorRT builds its engines, torch captures every batch size of a large encoder.
_START_SECS = 900.0


@contextmanager
def serving(repository: Path, way: str, device: str, streams: int) -> Iterator[TritonServer]:
    """A server for so many streams: `way` is execution, precision, joint, and perhaps `features`."""
    execution, precision, joint, *features = way.split()
    settings = RepositorySettings(
        execution=execution,
        features_execution=f"torch:{device}" if features else "cpu",
        precision=precision,
        joint=joint,
        max_batch_size=None if execution == "cpu" else BATCH,
        max_concurrent_streams=2 * streams,
    )
    with serve(repository, settings, start_timeout_secs=_START_SECS) as server:
        yield server


def ways(device: str) -> list[str]:
    """Return the ways to serve: the processor first, then what decides most."""
    engines = itertools.product(("torch", "onnxruntime"), ("fp16", "fp32"))
    plain = [f"{engine}:{device} {precision} {joint}" for (engine, precision) in engines for joint in JOINTS]
    tensorrt = ["onnxruntime:tensorrt fp16 model"] if device == "cuda" else []
    first = f"torch:{device} fp16 model {FEATURES}"
    return ["cpu fp32 local", first, *plain, f"torch:{device} fp32 model {FEATURES}", *tensorrt]


def measure(server: TritonServer, streams: int, chunks: int, chunk_samples: int, chunk_secs: float) -> dict[str, Any]:
    """Let streams speak, and return their latencies in milliseconds and what the server used."""
    speech = clip_speech(chunks * chunk_samples)(streams)
    before, began = cpu_secs(server.pid), time.perf_counter()
    result = run_streams(server.grpc_endpoint, speech, chunk_samples, pace_secs=chunk_secs)
    wall = time.perf_counter() - began
    p50, p95, p99 = (float(np.percentile(result.latencies_ms, share)) for share in (50, 95, 99))
    root = psutil.Process(server.pid)
    resident = sum(process.memory_info().rss for process in [root, *root.children(recursive=True)])
    return {
        "streams": streams,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "server_cores": (cpu_secs(server.pid) - before) / wall,
        "server_gigabytes": resident / 1e9,
        "kept_up": p99 < 1000 * chunk_secs,
    }


def climb(server: TritonServer, counts: tuple[int, ...], chunks: int, repository: Path) -> list[dict[str, Any]]:
    """Return the figures of more and more streams, up to the first number that is too many."""
    description = ModelDescription.load(repository / "description.json")
    samples = description.streaming.chunk_samples
    secs = samples / description.mel.sample_rate
    run_streams(server.grpc_endpoint, clip_speech(4 * samples)(counts[0]), samples)  # warm-up
    rows = []
    for streams in counts:
        try:
            rows.append(measure(server, streams, chunks, samples, secs))
        except (RuntimeError, queue.Empty) as error:  # refused, or not answered
            rows.append({"streams": streams, "failed": str(error) or "no answer", "kept_up": False})
        print("  ", rows[-1], flush=True)
        if not rows[-1]["kept_up"]:
            break
    return rows


def main() -> int:
    """Command line. The exit status is 3 when cells are missing: call again to go on."""
    arguments = parse(__doc__, minutes=8.0, tiny="few streams")
    counts, chunks = ((2, 4), 4) if arguments.tiny else (STREAMS, 12)
    keys = ways(arguments.device)
    figures = CellFile(arguments.out, device_name(arguments.device))

    def cell(key: str) -> dict[str, Any]:
        print(key, flush=True)
        try:
            with serving(arguments.model_repo, key, arguments.device, counts[-1]) as server:
                trials = climb(server, counts, chunks, arguments.model_repo)
                return {"trials": trials, "device_gigabytes": device_gigabytes(arguments.device)}
        except ServerStartError as error:
            reason = str(error).splitlines()[0]
            print("  ", reason, flush=True)
            return {"not_run": reason}

    missing = figures.complete(keys, cell, arguments.minutes)
    return 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
