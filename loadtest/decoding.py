"""What the decoder costs, by what streams ask for: `python -m loadtest.decoding [--out figures.json]`.

The encoder runs once; what it says is then searched in every way, in turn, all streams in one batch. Medians over
rounds that begin with empty caches of language model and phrases.

- Alone: processor time of one process and one thread, the joint called directly.
- In the server: wall time, the joint called as the decoder calls it there, as another model.

Frame by frame is the plain greedy loop, one call of the joint per frame and label; it finds the same tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tritonclient import grpc

from loadtest.bench import ROOT, STREAMS, clip_speech
from loadtest.raw_pipeline import RawPipeline
from loadtest.searches import FRAME_BY_FRAME, GREEDY, Encoded, Search, SearchTime, measure, searches
from log_mel.mel import Float32
from scripts.measurement import write_measurement
from scripts.serving.server import TritonServer
from scripts.serving.server_options import ServerOptions
from scripts.serving.staging import RepositorySettings, stage_repository

LANGUAGE_MODEL = ROOT / "work" / "language_model.arpa"
ALONE, SERVED = "alone", "in the server"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    parser.add_argument("--language-model", type=Path, default=LANGUAGE_MODEL)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chunks", type=int, default=16, help="chunks of each stream")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    has_lm = arguments.language_model.is_file()
    settings = RepositorySettings()
    if has_lm:
        settings = RepositorySettings(
            language_model=arguments.language_model,
            source_language_model=arguments.language_model.with_name(f"source_{arguments.language_model.name}"),
            lm_weight=0.0,
        )
    else:
        print(f"not measured: {arguments.language_model} does not exist: make language-model", file=sys.stderr)
    os.environ["AMIRA_BENCH_ROOT"] = str(ROOT)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        staged, with_lm = Path(folder) / "model-repo", Path(folder) / "with-lm"
        stage_repository(arguments.model_repo, staged, RepositorySettings())
        stage_repository(arguments.model_repo, with_lm, settings)
        shutil.copytree(ROOT / "loadtest" / "search_bench", staged / "search_bench")
        raw = RawPipeline(staged)
        asked = searches(staged / "decoder", with_lm / "decoder" if has_lm else None)
        times: dict[str, list[SearchTime]] = {ALONE: [], SERVED: []}
        with TritonServer(ServerOptions(staged, Path(folder))) as server:
            for count in STREAMS:
                encoded = _encoded(raw, clip_speech(raw.chunk_samples * arguments.chunks)(count))
                times[ALONE] += measure(raw.joint, encoded, asked, rounds=arguments.rounds, clock=time.process_time)
                times[SERVED] += _measure_served(server.grpc_endpoint, encoded, asked, arguments.rounds)
    for place, measured in times.items():
        _print(place, measured)
    if arguments.out:
        figures = {place: [asdict(item) for item in measured] for place, measured in times.items()}
        write_measurement(arguments.out, {"chunk_ms": raw.chunk_samples / 16, "rounds": arguments.rounds, **figures})
    return 0


def _encoded(raw: RawPipeline, waveforms: list[Float32]) -> list[list[Float32]]:
    size, samples = raw.chunk_samples, len(waveforms[0])
    streams = [raw.open() for _ in waveforms]
    encoded = [
        raw.encode(streams, [audio[start : start + size] for audio in waveforms], end=start + size >= samples)
        for start in range(0, samples, size)
    ]
    for stream in streams:
        raw.close(stream)
    return encoded


def _measure_served(endpoint: str, encoded: Encoded, asked: dict[str, Search], rounds: int) -> list[SearchTime]:
    """Let the model `search_bench` measure."""
    lengths = np.array([[len(piece) for piece in pieces] for pieces in encoded], np.int64)
    padded = np.zeros((*lengths.shape, lengths.max(), encoded[0][0].shape[1]), np.float32)
    for rows, pieces in zip(padded, encoded, strict=True):
        for row, piece in zip(rows, pieces, strict=True):
            row[: len(piece)] = piece
    values = {
        "ENCODED": (padded, "FP32"),
        "LENGTHS": (lengths, "INT64"),
        "SEARCHES": (
            np.array([json.dumps({name: asdict(search) for name, search in asked.items()}).encode()], np.object_),
            "BYTES",
        ),
        "ROUNDS": (np.array([rounds], np.int32), "INT32"),
    }
    inputs = []
    for name, (array, dtype) in values.items():
        tensor = grpc.InferInput(name, list(array.shape), dtype)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    with grpc.InferenceServerClient(endpoint) as client:
        answer = client.infer("search_bench", inputs, client_timeout=600).as_numpy("TIMES")
    return [SearchTime(**item) for item in json.loads(answer[0])]


def _print(place: str, times: list[SearchTime]) -> None:
    found = {(item.search, item.streams): item.ms_per_chunk for item in times}
    print(f"{place + ', ms per chunk':32}" + "".join(f"{count:10d}" for count in STREAMS) + "  streams")
    for name in dict.fromkeys(item.search for item in times):
        print(f"{name:32}" + "".join(f"{found[name, count]:10.3f}" for count in STREAMS))
    ratios = [found[FRAME_BY_FRAME, count] / found[GREEDY, count] for count in STREAMS]
    print(f"{'greedy is faster by':32}" + "".join(f"{ratio:10.2f}" for ratio in ratios) + "\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
