"""WER and CER of served model repositories, streaming and batch, per subset.

    python -m scripts.evaluation [--out figures.json]

The recordings are those of `eval.tsv` in --real, and the held-out voices of `index.tsv` in --synthetic. Streaming sends
every file at full speed, one stream at a time; RTF is the time spent waiting for responses over the duration of the
audio. The first repository is the one that is served; the others are the same checkpoint at other chunk sizes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amira_asr import AsrClient, DecodingOptions
from scripts.evaluation.recordings import Utterance, read_held_out, read_real
from scripts.evaluation.scores import Figures, score_by_subset
from scripts.evaluation.served import SERVER_DEFAULTS, chunk_ms, connect, recognise_all, stream
from scripts.export.description import ModelDescription
from scripts.measurement import write_measurement
from scripts.serving.temporary import serve

ROOT = Path(__file__).resolve().parents[2]
SPEECH = ROOT.parent / "shared" / "speech"
OTHER_CHUNK_SIZES = ROOT / "work" / "repositories"

# subset -> "streaming" or "batch" -> figures
BySubset = dict[str, dict[str, Figures]]


def main() -> int:
    """Evaluate, print tables, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_recordings(parser)
    parser.add_argument("--endpoint", help="evaluate this running server instead of starting one")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    parser.add_argument(
        "--others", type=Path, default=OTHER_CHUNK_SIZES, help="folder of repositories at other chunk sizes"
    )
    parser.add_argument(
        "--parameters",
        type=_options,
        default=SERVER_DEFAULTS,
        metavar="JSON",
        help='options of every stream and recording, such as {"beam_size": 4}',
    )
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--transcripts", action="store_true", help="print what was recognised")
    arguments = parser.parse_args()
    utterances = read_recordings(arguments)
    if not utterances:
        return 2
    repositories = []
    if arguments.endpoint:
        with connect(arguments.endpoint) as client:
            repositories.append(evaluate(client, utterances, arguments.parameters, show=arguments.transcripts))
    else:
        for model_repo in [arguments.model_repo, *_other_chunk_sizes(arguments.others, arguments.model_repo)]:
            with serve(model_repo) as server, connect(server.grpc_endpoint) as client:
                repositories.append(evaluate(client, utterances, arguments.parameters, show=arguments.transcripts))
    if arguments.out:
        write_measurement(arguments.out, {"repositories": repositories})
    return 0


def add_recordings(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the evaluation sets."""
    parser.add_argument("--real", type=Path, default=SPEECH / "eval", help="folder with eval.tsv")
    parser.add_argument("--synthetic", type=Path, default=SPEECH / "tts", help="folder with index.tsv")


def read_recordings(arguments: argparse.Namespace) -> list[Utterance]:
    """Read what is there of both sets, and say what is not."""
    utterances: list[Utterance] = []
    for table, read in ((arguments.real / "eval.tsv", read_real), (arguments.synthetic / "index.tsv", read_held_out)):
        if table.is_file():
            utterances += read(table.parent)
        else:
            print(f"not evaluated: {table} does not exist", file=sys.stderr)
    return utterances


def _options(text: str) -> DecodingOptions:
    try:
        return DecodingOptions(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} are no decoding options: {error}") from None


def evaluate(
    client: AsrClient,
    utterances: Sequence[Utterance],
    options: DecodingOptions = SERVER_DEFAULTS,
    *,
    show: bool = False,
) -> dict[str, Any]:
    """Recognise everything streaming and in one piece, print a table, and return the figures of the repository."""
    streamed = recognise_all(utterances, lambda audio: stream(client, audio, options).text)
    whole = recognise_all(utterances, lambda audio: client.transcribe(audio, options=options).text)
    if show:
        for item in streamed:
            print(f"{item.utterance.name}\n  said  {item.utterance.reference}\n  heard {item.text}")
    streaming, batch = score_by_subset(streamed), score_by_subset(whole)
    figures = {subset: {"streaming": streaming[subset], "batch": batch[subset]} for subset in streaming}
    size = chunk_ms(client)
    _print(size, figures)
    different = sum(one.text != other.text for one, other in zip(streamed, whole, strict=True))
    print(f"streaming differs from batch in {different} of {len(utterances)} recordings\n")
    return {
        "chunk_ms": size,
        "different": different,
        "subsets": {subset: {mode: asdict(item) for mode, item in modes.items()} for subset, modes in figures.items()},
    }


def _other_chunk_sizes(folder: Path, served: Path) -> list[Path]:
    """Return the repositories in a folder that come from the served checkpoint; say which do not."""
    checksum = ModelDescription.load(served / "description.json").source.sha256
    found = []
    for description in sorted(folder.glob("*/description.json")):
        if ModelDescription.load(description).source.sha256 == checksum:
            found.append(description.parent)
        else:
            print(f"not evaluated: {description.parent} is of another checkpoint", file=sys.stderr)
    if not found:
        print("only the served chunk size is evaluated; `make evaluate-chunks` has the others, too", file=sys.stderr)
    return found


def _print(size: float, figures: BySubset) -> None:
    print(f"chunks of {size:g} ms")
    print(f"{'subset':12} {'files':>5} {'words':>6}  {'WER':>16}  {'CER':>16}  {'RTF':>16}")
    print(f"{'':12} {'':5} {'':6}  {'streaming  batch':>16}  {'streaming  batch':>16}  {'streaming  batch':>16}")
    for subset, modes in figures.items():
        streaming, batch = modes["streaming"], modes["batch"]
        pairs = "  ".join(
            f"{one:9.3f} {other:6.3f}"
            for one, other in ((streaming.wer, batch.wer), (streaming.cer, batch.cer), (streaming.rtf, batch.rtf))
        )
        print(f"{subset:12} {streaming.files:5d} {streaming.words:6d}  {pairs}")


if __name__ == "__main__":
    sys.exit(main())
