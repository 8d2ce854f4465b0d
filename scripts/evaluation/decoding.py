"""What beam search, a language model and phrases do for the error rate: `python -m scripts.evaluation.decoding`.

All recordings stream to one server whose language model weighs nothing unless a stream asks for it. The language model
is that of `make language-model`.

Then the use of a reading tutor, on recordings of people reading aloud: the stream's phrases are the sentence that is
to be read, in pieces of up to three words, and the sentences of all other recordings. As a control, the same without
the sentence that is read.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from amira_asr import AsrClient, DecodingOptions
from scripts.evaluation.__main__ import ROOT, add_recordings, read_recordings
from scripts.evaluation.recordings import Utterance
from scripts.evaluation.scores import FIRST_SUBSET, Recognition, score, score_by_subset
from scripts.evaluation.served import connect, recognise_all, stream
from scripts.evaluation.stability import Stability
from scripts.measurement import write_measurement
from scripts.serving.staging import RepositorySettings
from scripts.serving.temporary import serve

LANGUAGE_MODEL = ROOT / "work" / "language_model.arpa"
SOURCE_LANGUAGE_MODEL = ROOT / "work" / "source_language_model.arpa"
PHRASE_WEIGHTS = (0.5, 1.0, 1.5, 2.0, 3.0)
_PHRASE_WORDS = 3


@dataclass(frozen=True)
class Search:
    """A way to decode.

    Attributes:
        name: for tables.
        options: of every stream.
        needs_language_model: whether it can be asked for only where there is one.
    """

    name: str
    options: DecodingOptions
    needs_language_model: bool = False


GREEDY = Search("greedy", DecodingOptions())
BEAM_4 = Search("beam 4", DecodingOptions(beam_size=4))
SEARCHES = (
    GREEDY,
    BEAM_4,
    Search("beam 8", DecodingOptions(beam_size=8)),
    *(
        Search(
            f"beam 4, language model {weight:g}",
            DecodingOptions(beam_size=4, lm_weight=weight),
            needs_language_model=True,
        )
        for weight in (0.1, 0.2, 0.3)
    ),
)


def main() -> int:
    """Evaluate, print tables, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_recordings(parser)
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    parser.add_argument("--language-model", type=Path, default=LANGUAGE_MODEL)
    parser.add_argument("--source-language-model", type=Path, default=SOURCE_LANGUAGE_MODEL)
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    utterances = read_recordings(arguments)
    if not utterances:
        return 2
    settings = RepositorySettings(
        language_model=arguments.language_model, source_language_model=arguments.source_language_model, lm_weight=0.0
    )
    searches = SEARCHES
    if not arguments.language_model.is_file():
        print(f"no language model: {arguments.language_model} does not exist: make language-model", file=sys.stderr)
        settings, searches = RepositorySettings(), tuple(item for item in SEARCHES if not item.needs_language_model)
    with serve(arguments.model_repo, settings) as server, connect(server.grpc_endpoint) as client:
        found = {
            "searches": compare(client, utterances, searches),
            "stability": compare_stability(client, utterances, searches),
            "passages": compare_passages(client, utterances),
        }
    if arguments.out:
        write_measurement(arguments.out, found)
    return 0


def compare(client: AsrClient, utterances: Sequence[Utterance], searches: Sequence[Search]) -> list[dict[str, Any]]:
    """Return figures by subset for each search."""
    rows = []
    for search in searches:
        figures = score_by_subset(_recognise(client, utterances, search.options))
        print(f"{search.name:32}", *(f"{subset} {item.wer:.1%}" for subset, item in figures.items()), flush=True)
        rows.append({"name": search.name, "subsets": {subset: asdict(item) for subset, item in figures.items()}})
    return rows


def compare_stability(
    client: AsrClient, utterances: Sequence[Utterance], searches: Sequence[Search]
) -> list[dict[str, Any]]:
    """Return how often partial words change with each search, on real recordings."""
    rows = []
    for search in searches:
        stability = Stability()
        for utterance in utterances:
            if not utterance.synthetic:
                stability.add(client.stream([utterance.audio], options=search.options))
        print(
            f"{search.name:32} {stability.changed} of {stability.words} words changed after they were shown", flush=True
        )
        rows.append({"name": search.name, **asdict(stability)})
    return rows


def compare_passages(client: AsrClient, utterances: Sequence[Utterance]) -> list[dict[str, Any]]:
    """Return figures for readers: without phrases, with those of their passage, and with those of other passages."""
    readers = [item for item in utterances if item.subset == FIRST_SUBSET]
    rows = []
    for search, weight in itertools.product((GREEDY, BEAM_4), PHRASE_WEIGHTS):
        recognitions: dict[str, list[Recognition]] = {"passage": [], "others": []}
        for reader in readers:
            others = [item.reference for item in readers if item.reference != reader.reference]
            for name, phrases in (("passage", pieces(reader.reference) + others), ("others", others)):
                options = replace(search.options, phrases=phrases, phrase_weight=weight)
                recognitions[name] += _recognise(client, [reader], options)
        figures = {name: asdict(score(items)) for name, items in recognitions.items()}
        shown = ", ".join(f"{name} {item['wer']:.1%}" for name, item in figures.items())
        print(f"{search.name}, phrases of weight {weight:g}: {shown}", flush=True)
        rows.append({"search": search.name, "weight": weight, **figures})
    return rows


def _recognise(client: AsrClient, utterances: Sequence[Utterance], options: DecodingOptions) -> list[Recognition]:
    return recognise_all(utterances, lambda audio: stream(client, audio, options).text)


def pieces(text: str) -> list[str]:
    """Cut a text into phrases of up to three words."""
    words = text.split()
    return [" ".join(words[start : start + _PHRASE_WORDS]) for start in range(0, len(words), _PHRASE_WORDS)]


if __name__ == "__main__":
    sys.exit(main())
