"""`python -m scripts.train.evaluation_text`: prove that no evaluation sentence is in the packed training text."""

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.text_normalization import normalize
from scripts.train.corpus import read_index

PROMPT_WORDS = 4  # shorter evaluation texts are everyday phrases: only an identical sentence counts


@dataclass(frozen=True)
class EvaluationText:
    """Normalised sentences of the evaluation set."""

    sentences: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> "EvaluationText":
        """Read the `text` column of an `eval.tsv`.

        Raises:
            ValueError: the file has no sentences.
        """
        with path.open(newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            sentences = frozenset(normalize(row["text"]) for row in rows) - {""}
        if not sentences:
            raise ValueError(f"{path}: no sentences in column 'text'")
        return cls(sentences)

    def overlaps(self, text: str) -> bool:
        """Whether `text` (normalised) is an evaluation sentence, or one of four words or more is inside it."""
        if text in self.sentences:
            return True
        padded = f" {text} "
        return any(f" {sentence} " in padded for sentence in self.sentences if len(sentence.split()) >= PROMPT_WORDS)


def main() -> None:
    """Command line; exits with 1 when a training sentence overlaps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eval", type=Path, default=Path("../shared/speech/eval/eval.tsv"))
    parser.add_argument("--packed", type=Path, default=Path("work/packed"))
    arguments = parser.parse_args()
    evaluation = EvaluationText.read(arguments.eval)
    texts = [utterance.text for utterance in read_index(arguments.packed) if utterance.split == "train"]
    if not texts:
        sys.exit(f"{arguments.packed}: no training text")
    found = sorted({text for text in texts if evaluation.overlaps(text)})
    print(
        f"{len(found)} of {len(set(texts))} training sentences overlap with {len(evaluation.sentences)} of evaluation"
    )
    for text in found:
        print(f"  {text}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
