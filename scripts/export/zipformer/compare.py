"""An imported model as served against sherpa-onnx, in one run: the same tokens, and word error rates.

    python -m scripts.export.zipformer.compare FOLDER [--out figures.json]

FOLDER has the files that were imported. Exits with 1 when the tokens or times of a recording differ. Needs the packages
of `requirements/import.txt` and `requirements/baselines.txt`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from amira_asr import Final
from amira_asr.audio import Float32
from scripts.evaluation.recordings import Utterance, read_real
from scripts.evaluation.scores import Recognition, score_by_subset
from scripts.evaluation.served import connect, processor_secs, stream
from scripts.export.layout import Layout
from scripts.export.serving_options import ServingOptions
from scripts.export.zipformer.importer import import_zipformer
from scripts.export.zipformer.sherpa import Recognised, Sherpa
from scripts.measurement import write_measurement
from scripts.serving.temporary import serve

ROOT = Path(__file__).resolve().parents[3]
SERVED, SERVED_BATCH, SHERPA, SHERPA_INT8 = (
    "served, streaming",
    "served, batch",
    "sherpa-onnx",
    "sherpa-onnx, int8 joiner",
)
# sherpa-onnx and the client round to single precision in another order.
TIME_TOLERANCE_SECS = 1e-3

TranscriptT = TypeVar("TranscriptT", Final, Recognised)


def main() -> int:
    """Import, recognise everything with both, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="encoder, decoder and joiner (.onnx) and tokens.txt")
    parser.add_argument("--real", type=Path, default=ROOT.parent / "shared" / "speech" / "eval", help="with eval.tsv")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    for needed in (arguments.folder, arguments.real / "eval.tsv"):
        if not needed.exists():
            print(f"not compared: {needed} does not exist", file=sys.stderr)
            return 2
    figures = compare(arguments.folder, read_real(arguments.real))
    _print(figures)
    if arguments.out:
        write_measurement(arguments.out, figures)
    return 1 if figures["different"] else 0


def compare(folder: Path, utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Recognise everything four times.

    Returns:
        `systems`, name -> subset -> figures; `different`, the recordings whose tokens or times are not sherpa-onnx's.
    """
    recognitions: dict[str, list[Recognition]] = {name: [] for name in (SERVED, SERVED_BATCH, SHERPA, SHERPA_INT8)}
    different = []
    sherpa, int8 = Sherpa(folder), Sherpa(folder, int8_joiner=True)
    with tempfile.TemporaryDirectory() as repository:
        import_zipformer(folder, Layout(Path(repository)), ServingOptions())
        with serve(Path(repository)) as server, connect(server.grpc_endpoint) as client:
            of_server = partial(processor_secs, server.pid)
            for utterance in utterances:
                streamed = timed(recognitions[SERVED], utterance, partial(stream, client), of_server)
                whole = timed(recognitions[SERVED_BATCH], utterance, client.transcribe, of_server)
                expected = timed(recognitions[SHERPA], utterance, sherpa.recognise, time.process_time)
                timed(recognitions[SHERPA_INT8], utterance, int8.recognise, time.process_time)
                if not same(streamed, expected) or not same(whole, expected):
                    different.append(utterance.name)
    scores = {name: score_by_subset(items) for name, items in recognitions.items()}
    return {
        "different": different,
        "systems": {
            name: {subset: asdict(figures) for subset, figures in subsets.items()} for name, subsets in scores.items()
        },
    }


def timed(
    recognitions: list[Recognition],
    utterance: Utterance,
    recognise: Callable[[Float32], TranscriptT],
    clock: Callable[[], float],
) -> TranscriptT:
    """Recognise a recording, add its text and the processor time it took, and return the transcript."""
    began = clock()
    transcript = recognise(utterance.audio)
    recognitions.append(Recognition(utterance, transcript.text, clock() - began))
    return transcript


def same(final: Final, expected: Recognised) -> bool:
    """Whether both have the same tokens at the same times."""
    if [token.text.replace("▁", " ") for token in final.tokens] != expected.pieces:
        return False
    times = [token.time_secs for token in final.tokens]
    return bool(np.allclose(times, expected.times, rtol=0, atol=TIME_TOLERANCE_SECS))


def _print(figures: dict[str, Any]) -> None:
    systems = figures["systems"]
    print(f"{'WER':12} " + " ".join(f"{name:>24}" for name in systems))
    for subset in systems[SERVED]:
        print(f"{subset:12} " + " ".join(f"{scores[subset]['wer']:24.3f}" for scores in systems.values()))
    files = systems[SERVED]["all"]["files"]
    different = figures["different"]
    print(f"tokens and times equal sherpa-onnx's in {files - len(different)} of {files} recordings")
    if different:
        print(f"different: {', '.join(different)}")


if __name__ == "__main__":
    sys.exit(main())
