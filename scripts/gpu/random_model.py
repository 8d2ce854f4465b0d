"""A model repository with random weights in the shape of a large model: `python -m scripts.gpu.random_model`.

The layers are those of Nemotron Speech Streaming 0.6B: d_model 1024, 8 heads, 128 mel bands, an LSTM of two layers of
640. It recognises nothing, and costs what such a model costs: for `make serve`, `make bench-gpu REPO=…` and `make
engines REPO=…`. Runs in NeMo's environment; 24 layers take some 12 GB of memory, and 5 GB of disk.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from pathlib import Path

from scripts.export.layout import Layout
from scripts.export.serving_options import ServingOptions

ROOT = Path(__file__).resolve().parents[2]
_CHECKPOINT = ROOT / "scripts" / "train" / "default.nemo"
_TOKENIZER = ("tokenizer.model", "tokenizer.vocab", "vocab.txt")


def write_random_model(layers: int, layout: Layout, options: ServingOptions, att_context: tuple[int, int]) -> None:
    """Build the model and export it. Raises ValueError and ArithmeticError as `make export`."""
    # NeMo takes ten seconds to import; wrong arguments are told at once.
    import torch  # noqa: PLC0415
    from nemo.utils import logging  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415

    from scripts.export.exporter import export_model  # noqa: PLC0415
    from scripts.train.model import new_model  # noqa: PLC0415

    logging.setLevel(logging.ERROR)
    torch.manual_seed(0)
    config = OmegaConf.load(ROOT / "scripts" / "train" / "small.yaml").model
    config = OmegaConf.merge(config, _shape(layers, att_context))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        extract_tokenizer(_CHECKPOINT, folder / "tokenizer")
        model = new_model(config, folder / "tokenizer").eval()
        checkpoint = folder / f"random-{layers}-layers.nemo"
        model.save_to(str(checkpoint))
        export_model(model, checkpoint, layout, options, att_context)


def extract_tokenizer(checkpoint: Path, folder: Path) -> None:
    """Take the tokenizer out of a checkpoint, as NeMo's `tokenizer.dir` wants it."""
    folder.mkdir(parents=True)
    with tarfile.open(checkpoint) as archive:
        for member in archive.getmembers():
            for wanted in _TOKENIZER:
                if member.name.endswith(f"_{wanted}") and (file := archive.extractfile(member)):
                    (folder / wanted).write_bytes(file.read())


def _shape(layers: int, att_context: tuple[int, int]) -> dict[str, object]:
    return {
        "model_defaults": {"enc_hidden": 1024, "pred_hidden": 640, "joint_hidden": 640},
        "preprocessor": {"features": 128},
        "encoder": {
            "feat_in": 128,
            "n_layers": layers,
            "d_model": 1024,
            "n_heads": 8,
            "subsampling_conv_channels": 256,
            "att_context_size": [list(att_context)],
            "att_context_probs": [1.0],
            "use_bias": False,
            "xscaling": False,
        },
        "decoder": {"prednet": {"pred_hidden": 640, "pred_rnn_layers": 2}},
        "joint": {"jointnet": {"joint_hidden": 640, "encoder_hidden": 1024, "pred_hidden": 640}},
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2, help="of the encoder; the 0.6B model has 24")
    parser.add_argument("--right-context", type=int, default=13, help="frames of 80 ms: 0, 1, 3, 6 or 13")
    parser.add_argument("--max-batch-size", type=int, default=ServingOptions.max_batch_size, help="streams to a batch")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "work" / "repositories" / "random", help="to write")
    arguments = parser.parse_args()
    if arguments.layers < 1:
        sys.exit(f"--layers is {arguments.layers}; allowed: 1 or more")
    options = ServingOptions(
        max_batch_size=arguments.max_batch_size,
        joint_max_batch_size=max(ServingOptions.joint_max_batch_size, arguments.max_batch_size),
    )
    write_random_model(arguments.layers, Layout(arguments.model_repo), options, (70, arguments.right_context))
    size = sum(path.stat().st_size for path in arguments.model_repo.rglob("*") if path.is_file())
    print(f"{arguments.model_repo}: {arguments.layers} layers, {size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
