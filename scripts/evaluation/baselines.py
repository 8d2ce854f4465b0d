"""Other recognisers on the same recordings, scored alike.

    python -m scripts.evaluation.baselines [--out figures.json]

RTF here is processor time over the duration of the audio, one thread: for the served model that of the server and its
backend processes, for the others that of this process. Needs the packages of `requirements/baselines.txt`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pocketsphinx
import sherpa_onnx

from amira_asr import AsrClient, DecodingOptions
from amira_asr.audio import MODEL_SAMPLE_RATE, Float32
from scripts.evaluation.__main__ import ROOT, add_recordings, read_recordings
from scripts.evaluation.recordings import Utterance
from scripts.evaluation.scores import Figures, Recognition, score_by_subset
from scripts.evaluation.served import chunk_ms, connect, processor_secs, recognise_all, stream
from scripts.measurement import circumstances, write_measurement
from scripts.serving.temporary import serve

ZIPFORMER = ROOT.parent / "shared" / "models" / "zipformer-gigaspeech-3.3M"
SERVED = "Amira"
# What sherpa-onnx's own examples append, so that the last chunk comes out.
TAIL = np.zeros(round(0.66 * MODEL_SAMPLE_RATE), np.float32)


@dataclass(frozen=True)
class System:
    """A recogniser and its results.

    Attributes:
        name: how it is run.
        software: package and version.
        megabytes: size of its model files.
        subsets: figures by subset.
        measured: when, and by which git revision of this code.
    """

    name: str
    software: str
    megabytes: float
    subsets: dict[str, Figures]
    measured: str


@dataclass(frozen=True)
class ZipformerFiles:
    """The files of a streaming Zipformer transducer, as sherpa-onnx takes them."""

    tokens: Path
    encoder: Path
    decoder: Path
    joiner: Path

    @classmethod
    def find(cls, folder: Path) -> ZipformerFiles:
        """Find int8 encoder and joiner, and the float decoder. Raises FileNotFoundError when one is not there."""

        def only(pattern: str) -> Path:
            found = sorted(folder.glob(pattern))
            if len(found) != 1:
                raise FileNotFoundError(f"{folder} has {len(found)} files {pattern}; exactly one is needed")
            return found[0]

        return cls(only("tokens.txt"), only("encoder-*.int8.onnx"), only("decoder-*.onnx"), only("joiner-*.int8.onnx"))

    @property
    def megabytes(self) -> float:
        """Size of the graphs."""
        return _megabytes([self.encoder, self.decoder, self.joiner])


def zipformer(files: ZipformerFiles, decoding_method: str) -> Callable[[Float32], str]:
    """Return a recogniser of [samples] that streams through sherpa-onnx: "greedy_search" or "modified_beam_search"."""
    recognizer = sherpa_onnx.OnlineRecognizer.from_transducer(
        tokens=str(files.tokens),
        encoder=str(files.encoder),
        decoder=str(files.decoder),
        joiner=str(files.joiner),
        num_threads=1,
        sample_rate=MODEL_SAMPLE_RATE,
        decoding_method=decoding_method,
    )

    def recognise(audio: Float32) -> str:
        session = recognizer.create_stream()
        session.accept_waveform(MODEL_SAMPLE_RATE, audio)
        session.accept_waveform(MODEL_SAMPLE_RATE, TAIL)
        session.input_finished()
        while recognizer.is_ready(session):
            recognizer.decode_stream(session)
        return str(recognizer.get_result(session))

    return recognise


def sphinx() -> Callable[[Float32], str]:
    """Return a recogniser of [samples] with the US English model of the pocketsphinx package.

    It gets whole utterances, which it normalises better than a stream.
    """
    decoder = pocketsphinx.Decoder(samprate=MODEL_SAMPLE_RATE, loglevel="FATAL")

    def recognise(audio: Float32) -> str:
        decoder.start_utt()
        samples = (np.clip(audio, -1.0, 1.0) * 32767).astype("<i2")
        decoder.process_raw(samples.tobytes(), no_search=False, full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return str(hypothesis.hypstr) if hypothesis else ""

    return recognise


def measure_served(model_repo: Path, utterances: Sequence[Utterance]) -> list[System]:
    """Stream everything through the served repository, with both of its searches."""
    graphs = [model_repo / name / "1" / "model.onnx" for name in ("encoder", "decoder_joint")]
    systems = []
    with serve(model_repo) as server, connect(server.grpc_endpoint) as client:
        pid, size = server.pid, chunk_ms(client)
        for name, beam_size in (("greedy", 1), ("beam 4", 4)):
            options = DecodingOptions(beam_size=beam_size)
            recognitions = recognise_all(
                utterances, partial(_streamed_text, client, options=options), clock=lambda: processor_secs(pid)
            )
            title = f"{SERVED}, streaming {size:g} ms, {name}"
            systems.append(_system(title, "nvidia-pytriton", _megabytes(graphs), recognitions))
    return systems


def measure_zipformer(folder: Path, utterances: Sequence[Utterance]) -> list[System]:
    """Recognise everything with both of its searches."""
    files = ZipformerFiles.find(folder)
    methods = {"greedy": "greedy_search", "beam 4": "modified_beam_search"}
    systems = []
    for name, method in methods.items():
        recognitions = recognise_all(utterances, zipformer(files, method), clock=time.process_time)
        title = f"Zipformer 3.3M (GigaSpeech, patched), streaming 320 ms, {name}"
        systems.append(_system(title, "sherpa-onnx", files.megabytes, recognitions))
    return systems


def measure_sphinx(utterances: Sequence[Utterance]) -> System:
    """Recognise everything with PocketSphinx."""
    recognitions = recognise_all(utterances, sphinx(), clock=time.process_time)
    model = Path(str(pocketsphinx.get_model_path())) / "en-us"
    files = [*(model / "en-us").iterdir(), model / "en-us.lm.bin", model / "cmudict-en-us.dict"]
    name = "PocketSphinx en-us, whole utterances"
    return _system(name, "pocketsphinx", _megabytes(files), recognitions)


def measure_others(zipformer_folder: Path, utterances: Sequence[Utterance]) -> list[System]:
    """Recognise everything with every other recogniser, saying which is not there."""
    if zipformer_folder.is_dir():
        return [*measure_zipformer(zipformer_folder, utterances), measure_sphinx(utterances)]
    print(f"not measured: {zipformer_folder} does not exist", file=sys.stderr)
    return [measure_sphinx(utterances)]


def read_others(path: Path) -> list[System]:
    """Read the other recognisers from figures that `main` wrote: they do not change with the served model."""
    systems = []
    for item in json.loads(path.read_text(encoding="utf-8"))["systems"]:
        if not item["name"].startswith(SERVED):
            subsets = {subset: Figures(**figures) for subset, figures in item.pop("subsets").items()}
            systems.append(System(subsets=subsets, **item))
    return systems


def main() -> int:
    """Run every recogniser, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_recordings(parser)
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    parser.add_argument("--zipformer", type=Path, default=ZIPFORMER, help="folder of a streaming Zipformer transducer")
    parser.add_argument("--keep", type=Path, help="take the other recognisers from this earlier --out")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    utterances = read_recordings(arguments)
    if not utterances:
        return 2
    others = read_others(arguments.keep) if arguments.keep else measure_others(arguments.zipformer, utterances)
    systems = [*measure_served(arguments.model_repo, utterances), *others]
    _print(systems)
    if arguments.out:
        figures: dict[str, Any] = {"systems": [asdict(system) for system in systems]}
        write_measurement(arguments.out, figures)
    return 0


def _streamed_text(client: AsrClient, audio: Float32, *, options: DecodingOptions) -> str:
    return stream(client, audio, options).text


def _system(name: str, package: str, megabytes: float, recognitions: Sequence[Recognition]) -> System:
    now = circumstances()
    print(f"measured: {name}", file=sys.stderr)
    return System(
        name,
        software=f"{package} {importlib.metadata.version(package)}",
        megabytes=megabytes,
        subsets=score_by_subset(recognitions),
        measured=f"{now['date'][:10]}, {now['revision']}",
    )


def _megabytes(files: Sequence[Path]) -> float:
    return round(sum(file.stat().st_size for file in files) / 1e6, 1)


def _print(systems: Sequence[System]) -> None:
    subsets = list(systems[0].subsets)
    print(f"{'WER':64} {'MB':>6} {'RTF':>6}  " + " ".join(f"{subset:>8}" for subset in subsets))
    for system in systems:
        rates = " ".join(f"{system.subsets[subset].wer:8.3f}" for subset in subsets)
        print(f"{system.name:64} {system.megabytes:6.1f} {system.subsets[subsets[-1]].rtf:6.3f}  {rates}")


if __name__ == "__main__":
    sys.exit(main())
