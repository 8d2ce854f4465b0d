"""A small recogniser for the browser page: the streaming graphs of a model repository, and ONNX Runtime Web.

    python -m scripts.draft --model-repo work/repositories/70-1 --out work/draft

The encoder's products with weights become INT8 (dynamic quantisation: activations are scaled per call). The folder goes
to `AMIRA_GATEWAY_DRAFT`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from scripts.export.description import ModelDescription
from scripts.export.layout import Layout

ONNX_RUNTIME_WEB = "onnxruntime-web@1.30.0"
_RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
ROOT = Path(__file__).resolve().parents[1]


class DraftError(Exception):
    """The folder cannot be made; the text says why."""


def main() -> int:
    """Make the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo", help="whose weights to take")
    parser.add_argument("--out", type=Path, default=ROOT / "work" / "draft")
    parser.add_argument("--fp32", action="store_true", help="do not quantise")
    arguments = parser.parse_args()
    try:
        make_draft(arguments.model_repo, arguments.out, quantised=not arguments.fp32)
    except (DraftError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"{arguments.out}: {size / 1e6:.1f} MB; AMIRA_GATEWAY_DRAFT={arguments.out}")
    return 0


def make_draft(model_repo: Path, folder: Path, *, quantised: bool = True) -> None:
    """Write the graphs, their numbers and the runtime into a folder.

    Raises:
        DraftError: the model cannot run in the page, or the runtime cannot be had.
        FileNotFoundError: the repository is incomplete.
    """
    layout = Layout(model_repo)
    description = ModelDescription.load(layout.description)
    if description.transducer.durations:
        raise DraftError(f"{model_repo} is a TDT model; the page searches plain transducers only")
    folder.mkdir(parents=True, exist_ok=True)
    runtime = _runtime()
    for name in _RUNTIME_FILES:
        shutil.copyfile(runtime / name, folder / name)
    shutil.copyfile(layout.decoder_joint, folder / "decoder_joint.onnx")
    if quantised:
        _quantise(layout.encoder, folder / "encoder.onnx")
    else:
        shutil.copyfile(layout.encoder, folder / "encoder.onnx")
    with np.load(layout.mels[0]) as arrays:
        for name in ("filterbank", "window"):
            (folder / f"{name}.bin").write_bytes(arrays[name].astype("<f4").tobytes())
    numbers = json.loads(layout.description.read_text())
    mel, streaming = numbers["mel"], numbers["streaming"]
    numbers["frame_secs"] = mel["hop_samples"] * streaming["subsampling"] / mel["sample_rate"]
    numbers["transducer"]["pieces"] = layout.vocabularies[0].read_text().splitlines()
    # Last: a folder with it is complete.
    (folder / "draft.json").write_text(json.dumps(numbers, ensure_ascii=False))


def _quantise(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415  needs onnx, an extra

    quantize_dynamic(
        source, target, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
    )


def _runtime() -> Path:
    """Return a folder with the files of ONNX Runtime Web, which npm fetches once."""
    folder = ROOT / "work" / ONNX_RUNTIME_WEB.replace("@", "-")
    if all((folder / name).is_file() for name in _RUNTIME_FILES):
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise DraftError("npm is missing (Debian: apt install npm): it fetches ONNX Runtime Web")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        command = [npm, "pack", "--silent", "--pack-destination", temporary, ONNX_RUNTIME_WEB]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        packages = list(Path(temporary).glob("*.tgz"))
        if done.returncode or not packages:
            raise DraftError(f"npm pack {ONNX_RUNTIME_WEB} failed: {done.stderr.strip()}")
        with tarfile.open(packages[0]) as package:
            for name in _RUNTIME_FILES:
                content = package.extractfile(f"package/dist/{name}")
                if content is None:
                    raise DraftError(f"{ONNX_RUNTIME_WEB} holds no dist/{name}")
                (folder / name).write_bytes(content.read())
    return folder


if __name__ == "__main__":
    sys.exit(main())
