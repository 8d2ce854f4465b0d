"""The served encoder in every way to run it: `python -m scripts.gpu.served --out figures.json`.

Milliseconds of a step as the backend sees it, features in and frames out included, by batch; how far the frames are
from those of the processor in FP32, over streams that take turns; memory of the GPU. Needs torch and onnx.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.raw_pipeline import read_config
from onnx_sequence.caches import StateTensor
from onnx_sequence.opening import graph_path, load_runner
from onnx_sequence.runner import Execution, Runner
from onnx_sequence.shape_ranges import shape_ranges
from scripts.export.description import ModelDescription
from scripts.gpu.cell_file import CellFile
from scripts.gpu.command import cell_or_reason, device_gigabytes, device_name, parse

OUTPUTS = ["ENCODED", "ENCODED_LENGTH"]
BATCHES = (1, 8, 32, 128, 256, 512)
_REPEATS, _STREAMS, _CHUNKS = 30, 6, 40


class Encoder:
    """The encoder of a repository, to be run in different ways."""

    def __init__(self, repository: Path) -> None:
        """Read the description."""
        self.folder = repository / "encoder" / "1"
        self.description = ModelDescription.load(repository / "description.json")
        shape = self.description.encoder
        self.states = [
            StateTensor("cache_channel", "cache_channel_next", np.float32, shape.cache_channel),
            StateTensor("cache_len", "cache_len_next", np.int64, (1,)),
            StateTensor("cache_time", "cache_time_next", np.float32, shape.cache_time),
        ]

    def runner(self, execution: str, precision: str, slots: int) -> Runner:
        """Load it, for batches of as many streams as it has slots for. Raises as `load_runner` does."""
        path, chosen = graph_path(self.folder, precision), Execution.parse(execution)
        config = read_config(self.folder.parent)
        config.max_batch_size = slots
        ranges = shape_ranges(config, self.states) if chosen.device == "tensorrt" else None
        return load_runner(path, chosen, self.states, slots=slots, threads=1, ranges=ranges)

    def inputs(self, rows: int, seed: int) -> dict[str, np.ndarray[Any, Any]]:
        """Return random features of a chunk of so many streams."""
        n_mels, frames = self.description.mel.n_mels, self.description.streaming.window_frames
        features = np.random.default_rng(seed).standard_normal((rows, n_mels, frames), dtype=np.float32)
        return {"FEATURES": features, "FEATURES_LENGTH": np.full((rows, 1), frames)}


def largest_error(encoder: Encoder, runner: Runner) -> float:
    """Return the largest relative error (L2) of a chunk of any stream, of streams that take turns at random."""
    reference = encoder.runner("cpu", "fp32", _STREAMS)
    slots = [[item.acquire() for _ in range(_STREAMS)] for item in (reference, runner)]
    random = np.random.default_rng(0)
    largest = 0.0
    for chunk in range(_CHUNKS):
        turn = random.permutation(_STREAMS)[: random.integers(1, _STREAMS + 1)]
        inputs = encoder.inputs(len(turn), chunk)
        wanted, got = (
            item.advance(inputs, [own[stream] for stream in turn], OUTPUTS)["ENCODED"]
            for item, own in zip((reference, runner), slots, strict=True)
        )
        errors = np.linalg.norm(got - wanted, axis=(1, 2)) / np.linalg.norm(wanted, axis=(1, 2))
        largest = max(largest, float(errors.max()))
    for slot in slots[1]:
        runner.release(slot)
    return largest


def step_ms(encoder: Encoder, runner: Runner, batch: int) -> list[float]:
    """Return milliseconds of steps of so many streams, sorted."""
    slots = [runner.acquire() for _ in range(batch)]
    inputs = encoder.inputs(batch, batch)
    times = []
    for _ in range(3 + _REPEATS):
        began = time.perf_counter()
        runner.advance(inputs, slots, OUTPUTS)
        times.append(1000 * (time.perf_counter() - began))
    for slot in slots:
        runner.release(slot)
    return sorted(times[3:])


def measure(
    encoder: Encoder, execution: str, precision: str, batches: tuple[int, ...], device: str = "cpu"
) -> dict[str, Any]:
    """Return the figures of one way to run it. Raises what the runner raises."""
    runner = encoder.runner(execution, precision, max(*batches, _STREAMS))
    began = time.perf_counter()
    runner.prepare({name: 0 * array for name, array in encoder.inputs(1, 0).items()}, max(batches), OUTPUTS)
    prepared = time.perf_counter() - began
    error = largest_error(encoder, runner)
    steps = {}
    for batch in batches:
        times = step_ms(encoder, runner, batch)
        secs = encoder.description.streaming.chunk_samples / encoder.description.mel.sample_rate
        steps[batch] = {
            "ms": statistics.median(times),
            "ms_p99": times[int(0.99 * len(times))],
            "streams_at_real_time": int(batch * 1000 * secs / statistics.median(times)),
        }
    return {
        "prepare_secs": prepared,
        "largest_error": error,
        "device_gigabytes": device_gigabytes(device),
        "steps": steps,
    }


def main() -> int:
    """Command line. The exit status is 3 when cells are missing: call again to go on."""
    arguments = parse(__doc__, minutes=5.0, tiny="small batches")
    encoder = Encoder(arguments.model_repo)
    batches = (1, 2) if arguments.tiny else BATCHES
    keys = [f"{engine}:{arguments.device} {p}" for engine in ("torch", "onnxruntime") for p in ("fp16", "fp32")]
    if arguments.device == "cuda":
        keys += [f"onnxruntime:tensorrt {precision}" for precision in ("fp16", "fp32")]
    figures = CellFile(arguments.out, device_name(arguments.device))

    def cell(key: str) -> dict[str, Any]:
        execution, precision = key.split()
        result = cell_or_reason(
            arguments.device, lambda: measure(encoder, execution, precision, batches, arguments.device)
        )
        print(key, result, flush=True)
        return result

    missing = figures.complete(keys, cell, arguments.minutes)
    return 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
