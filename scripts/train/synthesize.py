"""`python -m scripts.train.synthesize --hours 2`: more synthetic speech, as Opus with an index that `pack` reads.

Per CPU hour about 2 hours of Kokoro with its many voices, 12 of Piper or 70 of hibari with their one. Each process
takes a `--seed` and an `--out` of its own.
"""

import argparse
import csv
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from scripts.text_normalization import normalize
from scripts.train.corpus import SAMPLE_RATE
from scripts.train.evaluation_text import EvaluationText
from scripts.train.prose import fetch, prose
from scripts.train.sentences import made_up, wordnet_examples
from scripts.train.speech import Engine

FILE_SECONDS = 1800.0
MAX_SECONDS = 14.0
COLUMNS = ["file", "start_sample", "samples", "engine", "voice", "text"]


def draw_sentences(
    made_up_share: float, examples: list[str], evaluation: EvaluationText, random: np.random.Generator
) -> Iterator[str]:
    """Endless sentences, none of the evaluation's; the examples in random order, again from the start when used up."""
    templates = made_up(random)
    while True:
        for position in random.permutation(len(examples)):
            while random.random() < made_up_share:
                yield next(templates)
            if not evaluation.overlaps(normalize(examples[position])):
                yield examples[position]


class SpeechFiles:
    """Long Ogg Opus files beside an `index.tsv`; a file is written when it is full or at the end."""

    def __init__(self, folder: Path, engine: str) -> None:
        """Start after the files that the folder already holds."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._engine = folder, engine
        self._number = len(list(folder.glob(f"{engine}-*.opus")))
        self._pieces: list[npt.NDArray[np.float32]] = []
        self._rows: list[list[str]] = []
        self._filled = 0

    def add(self, audio: npt.NDArray[np.float32], voice: str, text: str) -> None:
        """Append one utterance."""
        name = f"{self._engine}-{self._number:02d}.opus"
        self._rows.append([name, str(self._filled), str(len(audio)), self._engine, voice, text])
        self._pieces.append(audio)
        self._filled += len(audio)
        if self._filled >= FILE_SECONDS * SAMPLE_RATE:
            self.flush()

    def flush(self) -> None:
        """Write what was added: audio first, so that the index never names a missing file."""
        if not self._pieces:
            return
        path = self._folder / self._rows[0][0]
        soundfile.write(path, np.concatenate(self._pieces), SAMPLE_RATE, format="OGG", subtype="OPUS")
        index = self._folder / "index.tsv"
        fresh = not index.exists()
        with index.open("a", newline="") as file:
            writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, lineterminator="\n")
            writer.writerows([COLUMNS, *self._rows] if fresh else self._rows)
        self._number, self._filled, self._pieces, self._rows = self._number + 1, 0, [], []


def _engine(name: str, kokoro: Path) -> Engine:
    """Load an engine; the packages of the others need not be there."""
    if name == "piper":
        from scripts.train.piper_voice import PiperVoice  # noqa: PLC0415

        return PiperVoice()
    if name == "hibari":
        from scripts.train.hibari_voice import HibariVoice  # noqa: PLC0415

        return HibariVoice()
    from scripts.train.kokoro import Kokoro, prepare  # noqa: PLC0415

    prepare(kokoro)
    return Kokoro(kokoro)


def _examples(text: str, books: Path) -> list[str]:
    """WordNet's examples, the pieces of the books, or both."""
    examples = wordnet_examples() if text != "prose" else []
    if text != "wordnet":
        fetch(books)
        examples += prose(books)
    return examples


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/tts"), help="folder of the Opus files and index.tsv")
    parser.add_argument("--hours", type=float, default=1.0, help="hours of speech")
    parser.add_argument("--engine", choices=["kokoro", "piper", "hibari"], default="kokoro")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--made-up", type=float, default=0.3, help="share of template sentences, 0 to below 1")
    parser.add_argument("--text", choices=["wordnet", "prose", "both"], default="wordnet", help="the other sentences")
    parser.add_argument("--prose", type=Path, default=Path("work/prose"), help="where the books are kept")
    parser.add_argument("--kokoro", type=Path, default=Path("work/kokoro"), help="where weights and voices are kept")
    parser.add_argument("--eval", type=Path, default=Path("../shared/speech/eval/eval.tsv"))
    arguments = parser.parse_args()
    if not 0 <= arguments.made_up < 1:
        parser.error(f"--made-up is {arguments.made_up}, allowed is 0 to below 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was spoken is kept
    examples = _examples(arguments.text, arguments.prose)
    engine = _engine(arguments.engine, arguments.kokoro)
    files = SpeechFiles(arguments.out, engine.name)
    random = np.random.default_rng(arguments.seed)
    spoken, began, next_report = 0.0, time.monotonic(), 60.0
    try:
        for sentence in draw_sentences(arguments.made_up, examples, EvaluationText.read(arguments.eval), random):
            said = engine.speak(sentence, random)
            if len(said.audio) > MAX_SECONDS * SAMPLE_RATE:
                continue
            files.add(said.audio, said.voice, normalize(sentence))
            spoken += len(said.audio) / SAMPLE_RATE
            elapsed = time.monotonic() - began
            if elapsed > next_report:
                left = (3600 * arguments.hours - spoken) / spoken * elapsed / 60
                print(f"{spoken / 3600:.2f} h spoken, {left:.0f} minutes left", flush=True)
                next_report += 60
            if spoken >= 3600 * arguments.hours:
                break
    finally:
        files.flush()
    print(f"{spoken / 3600:.3f} h in {arguments.out}")


if __name__ == "__main__":
    main()
