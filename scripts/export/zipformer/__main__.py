"""Command line: `python -m scripts.export.zipformer FOLDER` writes a model repository. Needs neither NeMo nor torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.export.layout import Layout
from scripts.export.serving_options import ServingOptions
from scripts.export.zipformer.importer import TAIL_PADDING_SECS, Imported, import_zipformer

ROOT = Path(__file__).resolve().parents[3]


def main() -> None:
    """Import, and exit with 1 and the reason when the files cannot be served."""
    parser = argparse.ArgumentParser(prog="python -m scripts.export.zipformer", description=__doc__)
    parser.add_argument("folder", type=Path, help="encoder, decoder and joiner (.onnx) and tokens.txt")
    parser.add_argument("--model-repo", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--tail-padding-secs", type=float, default=TAIL_PADDING_SECS, help="silence after the last audio, seconds"
    )
    parser.add_argument(
        "--activations",
        choices=("int8", "float"),
        default="int8",
        help="of an int8 encoder: int8 is the file bit for bit; float is faster, not the same (docs/zipformer.md)",
    )
    arguments = parser.parse_args()
    layout = Layout(arguments.model_repo)
    try:
        imported = import_zipformer(
            arguments.folder, layout, ServingOptions(), arguments.tail_padding_secs, arguments.activations
        )
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    _write_settings(layout, imported)
    _tell(layout, imported)


def _write_settings(layout: Layout, imported: Imported) -> None:
    """Write the settings that serve this repository, for `--config-dir`."""
    repository = layout.root.resolve()
    if repository.is_relative_to(ROOT):
        repository = repository.relative_to(ROOT)
    symbols = imported.description.transducer.max_symbols_per_step
    text = f'model_repository = "{repository}"\nmax_symbols_per_step = {symbols}\n'
    (layout.root / "config.toml").write_text(text, encoding="utf-8")


def _tell(layout: Layout, imported: Imported) -> None:
    streaming, transducer = imported.description.streaming, imported.description.transducer
    batch = f"up to {imported.encoder_batch_size} streams to a call of the encoder"
    if imported.batch_reason:
        batch = f"one stream to a call of the encoder: {imported.batch_reason}"
    print(
        f"{', '.join(path.name for path in imported.files)} -> {layout.root}\n"
        f"  chunks of {streaming.chunk_samples} samples, windows of {streaming.window_frames} frames, "
        f"{streaming.encoder_frames} encoder frames out; {imported.states} states; "
        f"{transducer.vocabulary_size} pieces\n"
        f"  {batch}\n"
        f"  phrases: {'yes' if imported.has_tokenizer else 'no, there is no bpe.model with the pieces of tokens.txt'}\n"
        f"serve it: python -m scripts.serve --config-dir {layout.root}"
    )


if __name__ == "__main__":
    main()
