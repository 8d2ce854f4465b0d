"""WER and CER of the served model on a folder of recordings, streaming and batch, per subset.

    python -m scripts.evaluate FOLDER [--out figures.json]

FOLDER has `eval.tsv` with the columns path, text, source and licence; the subset of a file is its name up to the first
`-`. Streaming sends every file at full speed, one stream at a time; RTF is the time spent waiting for responses over
the duration of the audio.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import jiwer

from amira_asr import AsrClient, Settings
from amira_asr.audio import MODEL_SAMPLE_RATE, Float32, load_audio
from scripts.measurement import write_measurement
from scripts.serving.server import ServerOptions, TritonServer
from scripts.serving.staging import RepositorySettings, stage_repository
from scripts.text_normalization import normalize

ROOT = Path(__file__).resolve().parents[1]
MODES = ("streaming", "batch")


@dataclass(frozen=True)
class Utterance:
    """One recording of the evaluation set.

    Attributes:
        name: file name.
        subset: file name up to its first "-".
        audio: [samples] float32.
        reference: normalised text.
    """

    name: str
    subset: str
    audio: Float32
    reference: str

    @property
    def seconds(self) -> float:
        """Duration of the audio."""
        return len(self.audio) / MODEL_SAMPLE_RATE


@dataclass
class Score:
    """What was recognised in one mode."""

    references: list[str] = field(default_factory=list)
    hypotheses: list[str] = field(default_factory=list)
    audio_secs: float = 0.0
    waited_secs: float = 0.0

    def add(self, utterance: Utterance, hypothesis: str, waited_secs: float) -> None:
        """Add one recognised recording."""
        self.references.append(utterance.reference)
        self.hypotheses.append(normalize(hypothesis))
        self.audio_secs += utterance.seconds
        self.waited_secs += waited_secs

    def figures(self) -> dict[str, float | int]:
        """Return WER and CER as fractions, the real-time factor, and counts."""
        return {
            "wer": round(float(jiwer.wer(self.references, self.hypotheses)), 4),
            "cer": round(float(jiwer.cer(self.references, self.hypotheses)), 4),
            "rtf": round(self.waited_secs / self.audio_secs, 4),
            "files": len(self.references),
            "words": sum(len(reference.split()) for reference in self.references),
            "empty": sum(not hypothesis for hypothesis in self.hypotheses),
        }


def read_utterances(folder: Path) -> list[Utterance]:
    """Read `eval.tsv` and the recordings it names.

    Raises:
        FileNotFoundError: the folder has no eval.tsv.
        ValueError: a reference is empty after normalisation.
    """
    utterances = []
    with (folder / "eval.tsv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE):
            reference = normalize(row["text"])
            if not reference:
                raise ValueError(f"{folder / 'eval.tsv'}: the text of {row['path']} is empty: {row['text']!r}")
            name = row["path"]
            utterances.append(Utterance(name, name.split("-")[0], load_audio(folder / name), reference))
    return utterances


def main() -> int:
    """Evaluate and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with eval.tsv")
    parser.add_argument("--endpoint", help="evaluate this running server instead of starting one")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--transcripts", action="store_true", help="print what was recognised")
    arguments = parser.parse_args()
    if not (arguments.folder / "eval.tsv").is_file():
        print(f"not evaluated: {arguments.folder / 'eval.tsv'} does not exist", file=sys.stderr)
        return 2
    utterances = read_utterances(arguments.folder)
    if arguments.endpoint:
        scores = recognise(arguments.endpoint, utterances, show=arguments.transcripts)
    else:
        with tempfile.TemporaryDirectory() as folder:
            stage_repository(arguments.model_repo, Path(folder) / "model-repo", RepositorySettings())
            with TritonServer(ServerOptions(Path(folder) / "model-repo", Path(folder))) as server:
                scores = recognise(server.grpc_endpoint, utterances, show=arguments.transcripts)
    figures = {subset: {mode: score.figures() for mode, score in modes.items()} for subset, modes in scores.items()}
    _print(figures)
    if arguments.out:
        write_measurement(arguments.out, {"subsets": figures})
    return 0


def recognise(endpoint: str, utterances: list[Utterance], *, show: bool = False) -> dict[str, dict[str, Score]]:
    """Recognise everything in both modes; return scores by subset ("all" is the last) and mode."""
    subsets = [*sorted({utterance.subset for utterance in utterances}), "all"]
    scores = {subset: {mode: Score() for mode in MODES} for subset in subsets}
    with AsrClient(Settings(triton_endpoint=endpoint)) as client:
        for utterance in utterances:
            began = time.perf_counter()
            text = ""
            for event in client.stream([utterance.audio]):
                text = event.text
            streamed = time.perf_counter()
            whole = client.transcribe(utterance.audio).text
            done = time.perf_counter()
            for subset in (utterance.subset, "all"):
                scores[subset]["streaming"].add(utterance, text, streamed - began)
                scores[subset]["batch"].add(utterance, whole, done - streamed)
            if show:
                print(f"{utterance.name}\n  said  {utterance.reference}\n  heard {text}")
    return scores


def _print(figures: dict[str, dict[str, dict[str, float | int]]]) -> None:
    print(f"{'subset':12} {'files':>5} {'words':>6}  {'WER':>16}  {'CER':>16}  {'RTF':>16}")
    print(f"{'':12} {'':5} {'':6}  {'streaming  batch':>16}  {'streaming  batch':>16}  {'streaming  batch':>16}")
    for subset, modes in figures.items():
        streaming, batch = modes["streaming"], modes["batch"]
        pairs = "  ".join(f"{streaming[key]:9.3f} {batch[key]:6.3f}" for key in ("wer", "cer", "rtf"))
        print(f"{subset:12} {streaming['files']:5d} {streaming['words']:6d}  {pairs}")


if __name__ == "__main__":
    sys.exit(main())
