"""Command line: `python -m scripts.export model.nemo` writes `model-repo/`. Runs in the NeMo environment."""

from __future__ import annotations

import argparse
import sys
import tarfile
from pathlib import Path

from scripts.export.layout import Layout
from scripts.export.serving_options import ServingOptions


def main() -> None:
    """Export a checkpoint, and exit with 1 and the reason when it cannot be served."""
    arguments = _parse()
    layout = Layout(arguments.model_repo)
    try:
        # NeMo takes ten seconds to import; wrong arguments are told at once.
        _check_archive(arguments.checkpoint)
        options = ServingOptions(
            max_batch_size=arguments.max_batch_size,
            batch_max_batch_size=arguments.batch_max_batch_size,
            joint_max_batch_size=max(ServingOptions.joint_max_batch_size, arguments.max_batch_size),
            max_audio_secs=arguments.max_audio_secs,
        )
        from nemo.utils import logging  # noqa: PLC0415

        from scripts.export.exporter import export_checkpoint  # noqa: PLC0415

        logging.setLevel(logging.ERROR)
        description, differences = export_checkpoint(arguments.checkpoint, layout, options, arguments.att_context)
    except (ValueError, FileNotFoundError, ArithmeticError) as error:
        sys.exit(str(error))
    streaming = description.streaming
    graphs = (layout.encoder, layout.encoder_batch, layout.decoder_joint)
    print(
        f"{description.source.checkpoint} -> {layout.root}\n"
        f"  chunks of {streaming.chunk_samples} samples, {streaming.window_frames} mel frames in, "
        f"{streaming.encoder_frames} encoder frames out; {description.transducer.vocabulary_size} pieces\n"
        f"  largest difference from NeMo: encoder {differences.encoder:.1e}, encoder_batch "
        f"{differences.encoder_batch:.1e}, decoder_joint {differences.decoder_joint:.1e}\n"
        f"  graphs: {sum(path.stat().st_size for path in graphs) / 1e6:.1f} MB"
    )


def _parse() -> argparse.Namespace:
    defaults = ServingOptions()
    parser = argparse.ArgumentParser(prog="python -m scripts.export", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="NeMo cache-aware streaming transducer (.nemo)")
    parser.add_argument("--model-repo", type=Path, default=Path("model-repo"), help="folder to write")
    parser.add_argument(
        "--att-context", type=_context, help="left,right attention context, such as 70,6 (default: the first trained)"
    )
    parser.add_argument("--max-batch-size", type=int, default=defaults.max_batch_size, help="streams to a batch")
    parser.add_argument(
        "--batch-max-batch-size", type=int, default=defaults.batch_max_batch_size, help="utterances to a batch"
    )
    parser.add_argument(
        "--max-audio-secs", type=int, default=defaults.max_audio_secs, help="longest utterance of asr_batch"
    )
    return parser.parse_args()


def _check_archive(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if not tarfile.is_tarfile(path):
        raise ValueError(f"{path} is no .nemo archive (a tar file with model_config.yaml and weights)")


def _context(text: str) -> tuple[int, int]:
    try:
        left, right = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two whole numbers such as 70,6") from None
    return left, right


if __name__ == "__main__":
    main()
