"""Our server, sherpa-onnx's server, and NeMo's streaming loop on the same weights, recordings and cores, in one run.

    python -m scripts.compare_peers [--rounds 5] [--out figures.json]

Two models: the default one, which sherpa-onnx gets as the same graphs in its own layout, and a streaming Zipformer in
sherpa-onnx's files, which we get through `make import-zipformer`. The recognisers of a model take turns, round by
round; the table has medians. What is not there is not run, and the output says so. Needs the packages of
`requirements/import.txt` and `requirements/baselines.txt`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.bench import clip_speech
from log_mel.mel import Float32
from scripts.export.description import ModelDescription
from scripts.export.layout import Layout
from scripts.export.serving_options import ServingOptions
from scripts.export.zipformer.files import find_file
from scripts.export.zipformer.importer import TAIL_PADDING_SECS, import_zipformer
from scripts.measurement import write_measurement
from scripts.peers.amira import Amira
from scripts.peers.nemo import Nemo
from scripts.peers.sherpa_files import SherpaFiles, write_sherpa_files
from scripts.peers.system import Row, System, as_figures, in_turn
from scripts.serving.staging import RepositorySettings
from scripts.serving.temporary import serve

ROOT = Path(__file__).resolve().parents[1]
ZIPFORMER = ROOT.parent / "shared" / "models" / "zipformer-gigaspeech-3.3M"
AMIRA, AMIRA_LOCAL, SHERPA, NEMO = "Amira", "Amira, joint=local", "sherpa-onnx", "NeMo"
AMIRA_FLOAT = "Amira, joint=local, float activations"


def main() -> int:
    """Measure, print, write."""
    arguments = _parse()
    models: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        waveforms = _waveforms(arguments, chunk_samples=8960)
        models["FastConformer 4.5M, 560 ms"] = _fastconformer(arguments, waveforms, Path(folder))
        if arguments.zipformer.is_dir():
            models["Zipformer 3.3M, 320 ms"] = _zipformer(arguments, waveforms, Path(folder))
        else:
            print(f"not run: the Zipformer, {arguments.zipformer} does not exist", file=sys.stderr)
    _print(models)
    if arguments.out:
        figures: dict[str, Any] = {model: as_figures(rows) for model, rows in models.items()}
        write_measurement(arguments.out, {"rounds": arguments.rounds, "secs": arguments.secs, "models": figures})
    return 0


def _fastconformer(arguments: argparse.Namespace, waveforms: Sequence[Float32], folder: Path) -> list[Row]:
    repository, chunk = arguments.model_repo, ModelDescription.load(Layout(arguments.model_repo).description).streaming
    with contextlib.ExitStack() as running:
        systems = _ours(running, repository, chunk.chunk_samples)
        if _has_sherpa():
            systems.append(_sherpa(running, write_sherpa_files(repository, folder / "sherpa"), folder))
        if not arguments.nemo_python.exists():
            print(f"not run: NeMo, {arguments.nemo_python} does not exist (make setup-nemo)", file=sys.stderr)
        else:
            nemo = Nemo(NEMO, arguments.nemo_python, arguments.checkpoint, repository, folder)
            systems.append(running.enter_context(nemo))
        return in_turn(systems, waveforms, arguments.rounds, _say)


def _zipformer(arguments: argparse.Namespace, waveforms: Sequence[Float32], folder: Path) -> list[Row]:
    source, repository = arguments.zipformer, folder / "zipformer"
    imported = import_zipformer(source, Layout(repository), ServingOptions())
    in_floats = folder / "zipformer-float"
    import_zipformer(source, Layout(in_floats), ServingOptions(), activations="float")
    streaming = imported.description.streaming
    with contextlib.ExitStack() as running:
        systems = _ours(running, repository, streaming.chunk_samples)
        server = running.enter_context(serve(in_floats, RepositorySettings(joint="local")))
        systems.append(Amira(AMIRA_FLOAT, server, streaming.chunk_samples))
        if _has_sherpa():
            files = SherpaFiles(
                tokens=source / "tokens.txt",
                encoder=find_file(source, "encoder", prefer_int8=True),
                decoder=find_file(source, "decoder", prefer_int8=False),
                joiner=find_file(source, "joiner", prefer_int8=False),
                lead_samples=0,
                tail_secs=TAIL_PADDING_SECS,
                window_frames=streaming.window_frames,
                shift_frames=streaming.chunk_frames,
                max_batch_size=imported.file_batch or imported.encoder_batch_size,
            )
            systems.append(_sherpa(running, files, folder))
        return in_turn(systems, waveforms, arguments.rounds, _say)


def _ours(running: contextlib.ExitStack, repository: Path, chunk_samples: int) -> list[System]:
    """Start our server in both ways of calling the joint."""
    return [
        Amira(name, running.enter_context(serve(repository, RepositorySettings(joint=joint))), chunk_samples)
        for name, joint in ((AMIRA, None), (AMIRA_LOCAL, "local"))
    ]


def _has_sherpa() -> bool:
    """Whether sherpa-onnx and its server are installed; says so when not."""
    if importlib.util.find_spec("sherpa_onnx") is not None:
        from scripts.peers.sherpa_server import PROGRAM  # noqa: PLC0415  its package is needed for this alone

        if PROGRAM.exists():
            return True
    print("not run: sherpa-onnx, its server is not installed (requirements/baselines.txt)", file=sys.stderr)
    return False


def _sherpa(running: contextlib.ExitStack, files: SherpaFiles, folder: Path) -> System:
    from scripts.peers.sherpa_server import SherpaServer  # noqa: PLC0415

    return running.enter_context(SherpaServer(SHERPA, files, folder))


def _waveforms(arguments: argparse.Namespace, chunk_samples: int) -> list[Float32]:
    chunks = max(1, round(arguments.secs * 16000 / chunk_samples))
    return clip_speech(chunks * chunk_samples)(arguments.streams)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(models: dict[str, list[Row]]) -> None:
    for model, rows in models.items():
        print(f"\n{model}, {rows[0].streams} streams")
        print(
            f"{'':38} {'at real time':>12} {'CPU s/s':>9} {'full speed p50/95/99':>22} {'paced p50/95/99':>20} "
            f"{'paced CPU':>9} {'whole x':>8} {'same':>5}"
        )
        for row in rows:
            paced = "/".join(f"{value:.0f}" for value in row.paced_ms) if row.paced_ms else "-"
            paced_cpu = f"{row.paced_cpu_per_audio_sec:.4f}" if row.paced_cpu_per_audio_sec is not None else "-"
            print(
                f"{row.system:38} {row.streams_at_real_time:12.0f} {row.cpu_per_audio_sec:9.4f} "
                f"{'/'.join(f'{value:.0f}' for value in row.full_speed_ms):>22} {paced:>20} {paced_cpu:>9} "
                f"{row.whole_x_real_time:8.0f} {row.same_texts:5d}"
            )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "scripts" / "train" / "default.nemo")
    nemo_python = Path(os.environ.get("NEMO_PYTHON", ROOT / ".venv-nemo" / "bin" / "python"))
    parser.add_argument("--nemo-python", type=Path, default=nemo_python, help="default: $NEMO_PYTHON, or .venv-nemo's")
    parser.add_argument("--zipformer", type=Path, default=ZIPFORMER, help="folder of a streaming Zipformer transducer")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, in turn (default 5)")
    parser.add_argument("--streams", type=int, default=32, help="streams at once (default 32)")
    parser.add_argument("--secs", type=float, default=4.5, help="audio of each stream, seconds (default 4.5)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
