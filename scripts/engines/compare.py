"""What precision costs and gives on this processor: `python -m scripts.engines.compare [--out figures.json]`.

For each precision: word error rate of the evaluation set, streamed through the graphs in ONNX Runtime; the largest and
the mean error of the encoder's output against FP32, chunk by chunk over long streams; size of the graphs; processor
time of an encoder step. ONNX Runtime computes FP16 graphs by way of FP32 on processors without FP16 arithmetic, so
their times say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime import InferenceSession

from loadtest.raw_pipeline import RawPipeline
from scripts.engines.accuracy import relative_errors
from scripts.engines.calibration import encoder_steps, read_features
from scripts.engines.precision import Precision
from scripts.engines.rtx import compile_graph, installed
from scripts.engines.shapes import ranges
from scripts.engines.variants import write_variants
from scripts.evaluation.recordings import Utterance, read_real
from scripts.evaluation.scores import ALL_REAL, Recognition, score_by_subset
from scripts.export.description import ModelDescription
from scripts.export.layout import Layout
from scripts.export.onnx_runner import OnnxEncoder, open_graph, run_graph
from scripts.export.serving_options import ServingOptions
from scripts.export.windows import Float32
from scripts.measurement import write_measurement

ROOT = Path(__file__).resolve().parents[2]
SPEECH = ROOT.parent / "shared" / "speech"
BATCHES = (1, 8, 32)
_STEPS = 15


def main() -> int:
    """Compare, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, default=SPEECH / "eval", help="folder with eval.tsv")
    parser.add_argument("--calibration", type=Path, default=ROOT / "tests" / "data" / "audio")
    parser.add_argument("--stream-secs", type=float, default=300.0, help="length of the long streams")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    if not (arguments.real / "eval.tsv").is_file():
        print(f"no recordings: {arguments.real / 'eval.tsv'} is missing", file=sys.stderr)
        return 2
    utterances = read_real(arguments.real)
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for row in compare(Layout(ROOT / "model-repo"), utterances, arguments, Path(folder)):
            rows.append(row)
            print(row, flush=True)
    if arguments.out:
        write_measurement(arguments.out, {"stream_secs": arguments.stream_secs, "rows": rows})
    return 0


def compare(
    layout: Layout, utterances: Sequence[Utterance], arguments: argparse.Namespace, folder: Path
) -> Iterator[dict[str, Any]]:
    """Yield the figures of each precision, FP32 first."""
    description = ModelDescription.load(layout.description)
    stream = _long_stream(layout, description, utterances, arguments.stream_secs)
    wanted = OnnxEncoder(layout.encoder, description)(stream)
    for precision in Precision:
        graphs = write_variants(layout, precision, folder, arguments.calibration)
        errors = relative_errors(
            wanted,
            OnnxEncoder(graphs["encoder"], description, fuse_quantisers=precision.fused)(stream),
            description.streaming.encoder_frames,
        )
        quarter = len(errors) // 4
        session = open_graph(graphs["encoder"], fuse_quantisers=precision.fused)
        scores = score_by_subset(_recognise(layout, graphs, precision, utterances, folder / "model-repo"))
        yield {
            "precision": precision.value,
            "wer": {subset: figures.wer for subset, figures in scores.items()},
            "files": {subset: figures.files for subset, figures in scores.items()},
            "wer_interval": scores[ALL_REAL].wer_interval,
            "largest_error": max(errors),
            "mean_error_first_quarter": statistics.mean(errors[:quarter]),
            "mean_error_last_quarter": statistics.mean(errors[-quarter:]),
            "chunks": len(errors),
            "megabytes": {model: round(path.stat().st_size / 1e6, 2) for model, path in graphs.items()},
            "encoder_step_ms": {str(batch): _step_ms(layout, description, session, stream, batch) for batch in BATCHES},
            "tensorrt_rtx": _compile(graphs, description),
        }


def _long_stream(
    layout: Layout, description: ModelDescription, utterances: Sequence[Utterance], secs: float
) -> Float32:
    """Features of the real recordings one after the other, repeated up to a length: [n_mels, frames]."""
    features = read_features(layout, description, np.concatenate([utterance.audio for utterance in utterances]))
    frames = description.mel.frames(secs)
    repeated: Float32 = np.tile(features, (1, -(-frames // features.shape[1])))[:, :frames]
    return repeated


def _recognise(
    layout: Layout,
    graphs: dict[str, Path],
    precision: Precision,
    utterances: Sequence[Utterance],
    repository: Path,
) -> list[Recognition]:
    """Stream every recording through the graphs, alone, chunk by chunk."""
    shutil.rmtree(repository, ignore_errors=True)
    shutil.copytree(layout.root, repository)
    for model, path in graphs.items():
        shutil.copyfile(path, repository / model / "1" / "model.onnx")
    pipeline = RawPipeline(repository, fuse_quantisers=precision.fused)
    return [_recognise_one(pipeline, utterance) for utterance in utterances]


def _recognise_one(pipeline: RawPipeline, utterance: Utterance) -> Recognition:
    began = time.perf_counter()
    stream = pipeline.open()
    starts = range(0, len(utterance.audio), pipeline.chunk_samples)
    for start in starts:
        chunk = utterance.audio[start : start + pipeline.chunk_samples]
        pipeline.step([stream], [chunk], end=start == starts[-1])
    outputs = pipeline.decoder.result(stream[2], end=True)
    pipeline.close(stream)
    if isinstance(outputs, Exception):
        raise outputs
    return Recognition(utterance, outputs["TRANSCRIPT"].item().decode(), time.perf_counter() - began)


def _step_ms(
    layout: Layout, description: ModelDescription, session: InferenceSession, stream: Float32, batch: int
) -> float:
    """Median milliseconds of processor time of a step of the encoder with full caches; there is one thread."""
    steps = encoder_steps(layout, description, [stream])
    full = description.encoder.left_context // description.streaming.encoder_frames + 1
    single = [step for step, _ in zip(steps, range(full + 1), strict=False)][-1]
    inputs = {name: np.repeat(array, batch, axis=0) for name, array in single.items()}
    times = []
    for _ in range(_STEPS):
        began = time.process_time()
        run_graph(session, inputs)
        times.append(1000 * (time.process_time() - began))
    return round(statistics.median(times), 2)


def _compile(graphs: dict[str, Path], description: ModelDescription) -> dict[str, Any] | None:
    """Whether TensorRT-RTX takes the graphs, and the megabytes of what it compiles; None where it is not installed."""
    if not installed():
        return None
    profiles = ranges(description, ServingOptions())
    verdicts = {model: compile_graph(path, profiles[model]) for model, path in graphs.items()}
    return {
        model: {"accepted": verdict.accepted, "megabytes": round(verdict.megabytes, 1)}
        for model, verdict in verdicts.items()
    }


if __name__ == "__main__":
    sys.exit(main())
