"""The steps beside the encoder, here and on the processor: `python -m scripts.gpu.steps --out figures.json`.

Log-mel features by NumPy and by torch, greedy search of a chunk by ONNX Runtime and by torch: milliseconds of a batch,
those of processor time, and the search's share of an encoder step and it. What is searched is a clip's speech. Needs
torch and onnx.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.raw_pipeline import read_config
from log_mel.front_end import Chunk, FrontEnd
from log_mel.opening import open_streaming
from onnx_sequence.caches import Array
from onnx_sequence.opening import graph_path, load_runner
from onnx_sequence.runner import Execution, Runner
from scripts.export.description import ModelDescription
from scripts.export.onnx_runner import OnnxEncoder
from scripts.goldens import Goldens
from scripts.gpu.cell_file import CellFile
from scripts.gpu.command import ROOT, cell_or_reason, device_name, parse
from scripts.gpu.served import BATCHES, OUTPUTS, Encoder, step_ms

_REPEATS, _SEARCH = 30, "decoder_greedy"
_FOUND = ["LABEL", "FRAME", "LABEL_LOG_PROB", "LABEL_CONFIDENCE", "STATE_H_NEXT", "STATE_C_NEXT"]


class Steps:
    """Features and search of a repository, and speech for them."""

    def __init__(self, repository: Path) -> None:
        """Read the description. The speech is encoded on the processor."""
        self.repository = repository
        self.description = ModelDescription.load(repository / "description.json")
        self.chunk_samples = self.description.streaming.chunk_samples
        speech = Goldens.load(ROOT / "tests" / "goldens").tensors.features
        encoder = OnnxEncoder(repository / "encoder" / "1" / "model.onnx", self.description)
        self.encoded = encoder(np.resize(speech, (self.description.mel.n_mels, speech.shape[1])))

    def front_end(self, execution: str, streams: int = 1) -> FrontEnd[Any]:
        """Open the features. Raises as `open_streaming`."""
        config = read_config(self.repository / "preprocessor")
        config.raw["max_batch_size"] = streams
        for key, value in (("execution", execution), ("max_concurrent_streams", str(streams))):
            config.raw["parameters"][key] = {"string_value": value}
        return open_streaming(type(config)(json.dumps(config.raw)), self.repository / "preprocessor" / "1", kaldi=False)

    def search_inputs(self, rows: int) -> dict[str, Array]:
        """Return a chunk of speech for so many streams, from anywhere in the clip."""
        shape, frames = self.description.transducer, self.description.streaming.encoder_frames
        places = np.random.default_rng(rows).integers(0, len(self.encoded) - frames, rows)
        state = np.zeros((rows, shape.prediction_layers, shape.prediction_hidden), np.float32)
        return {
            "ENCODED": np.stack([self.encoded[place : place + frames] for place in places]),
            "ENCODED_LENGTH": np.full((rows, 1), frames),
            "MAX_SYMBOLS": np.full((rows, 1), shape.max_symbols_per_step, np.int32),
            "TARGET": np.full((rows, 1), shape.blank_id, np.int32),
            "STATE_H": state,
            "STATE_C": state,
        }

    def search(self, execution: str, precision: str) -> Runner:
        """Load the greedy search. Raises as `load_runner` does."""
        path = graph_path(self.repository / _SEARCH / "1", precision)
        return load_runner(path, Execution.parse(execution), [], slots=0, threads=1)


def times(run: Callable[[], Any]) -> dict[str, float]:
    """Return the median and the 99th percentile of a call's milliseconds, and processor time of a call."""
    for _ in range(3):
        run()
    walls, processor = [], time.process_time()
    for _ in range(_REPEATS):
        began = time.perf_counter()
        run()
        walls.append(1000 * (time.perf_counter() - began))
    spent = 1000 * (time.process_time() - processor) / _REPEATS
    return {"ms": statistics.median(walls), "ms_p99": sorted(walls)[int(0.99 * len(walls))], "processor_ms": spent}


def features(steps: Steps, execution: str, batches: tuple[int, ...]) -> dict[str, Any]:
    """Return the figures of the features, and how far they are from NumPy's."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (max(batches), steps.chunk_samples)).astype(np.float32)
    front_end, reference = steps.front_end(execution, max(batches)), steps.front_end("cpu")
    error, cells = 0.0, {}
    for batch in batches:
        states = [front_end.new_state() for _ in range(batch)]
        chunks = [Chunk(state, piece, end=False) for state, piece in zip(states, noise, strict=False)]
        plain = [Chunk(reference.new_state(), chunk.audio, end=False) for chunk in chunks]
        for wanted, got in zip(reference.windows(plain), front_end.windows(chunks), strict=True):
            error = max(error, float(np.abs(got.features - wanted.features).max()))
        cells[batch] = times(partial(front_end.windows, chunks))
        for state in states:
            front_end.release(state)
    return {"largest_error": error, "batches": cells}


def search(steps: Steps, execution: str, precision: str, batches: tuple[int, ...]) -> dict[str, Any]:
    """Return the figures of the search, how many labels are those of the processor, and its share of a step."""
    runner, reference = steps.search(execution, precision), steps.search("cpu", "fp32")
    encoder = Encoder(steps.repository)
    encoders = encoder.runner(execution, precision, max(batches))
    row = {name: 0 * array for name, array in steps.search_inputs(1).items()}
    runner.prepare(row, max(batches), _FOUND)
    encoders.prepare({name: 0 * array for name, array in encoder.inputs(1, 0).items()}, max(batches), OUTPUTS)
    cells = {}
    for batch in batches:
        inputs = steps.search_inputs(batch)
        wanted, got = (item.run(inputs, ["LABEL"])["LABEL"] for item in (reference, runner))
        common = min(wanted.shape[1], got.shape[1])
        cell = times(partial(runner.run, inputs, _FOUND))
        encoder_ms = statistics.median(step_ms(encoder, encoders, batch))
        cells[batch] = {
            **cell,
            "rounds": wanted.shape[1],
            "labels_equal": float((wanted[:, :common] == got[:, :common]).mean()),
            "encoder_ms": encoder_ms,
            "share": cell["ms"] / (cell["ms"] + encoder_ms),
        }
    return {"batches": cells}


def measure(steps: Steps, key: str, batches: tuple[int, ...]) -> dict[str, Any]:
    """Return the figures of one cell, `features EXECUTION` or `search EXECUTION PRECISION`."""
    what, execution, *precision = key.split()
    if what == "features":
        return features(steps, execution, batches)
    return search(steps, execution, precision[0], batches)


def main() -> int:
    """Command line. The exit status is 3 when cells are missing: call again to go on."""
    arguments = parse(__doc__, minutes=3.0, tiny="small batches")
    steps = Steps(arguments.model_repo)
    batches = (1, 2) if arguments.tiny else BATCHES
    keys = [f"features torch:{arguments.device}", "features cpu", "search cpu fp32"]
    keys += [
        f"search {engine}:{arguments.device} {precision}"
        for engine in ("torch", "onnxruntime")
        for precision in ("fp16", "fp32")
    ]
    figures = CellFile(arguments.out, device_name(arguments.device))

    def cell(key: str) -> dict[str, Any]:
        result = cell_or_reason(arguments.device, lambda: measure(steps, key, batches))
        print(key, result, flush=True)
        return result

    missing = figures.complete(keys, cell, arguments.minutes)
    return 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
