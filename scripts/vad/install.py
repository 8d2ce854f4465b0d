"""Put Silero VAD into a model repository: `python -m scripts.vad.install [WHEEL] [--model-repo FOLDER]`.

The graph and its licence (MIT) come out of the wheel `silero-vad`, which pip downloads when none is given. The wheel
is not installed: it wants torch.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = "6.2.0"
SHA256 = "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49"
_GRAPH = "silero_vad/data/silero_vad_16k_op15.onnx"
_LICENCE = f"silero_vad-{VERSION}.dist-info/licenses/LICENSE"


class WrongFileError(ValueError):
    """The wheel does not hold the graph that the tests know."""


def install(wheel: Path, model_repository: Path) -> Path:
    """Write vad/1/model.onnx and vad/LICENSE; return the former.

    Raises:
        WrongFileError: it is another wheel, or its checksum is not the expected one.
    """
    with zipfile.ZipFile(wheel) as archive:
        try:
            graph, licence = archive.read(_GRAPH), archive.read(_LICENCE)
        except KeyError as error:
            raise WrongFileError(f"{wheel.name} is not silero-vad {VERSION}: {error.args[0]}") from error
    checksum = hashlib.sha256(graph).hexdigest()
    if checksum != SHA256:
        raise WrongFileError(f"{_GRAPH} in {wheel.name} has SHA-256 {checksum}; expected {SHA256}")
    path = model_repository / "vad" / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(graph)
    note = f"model.onnx is {_GRAPH.rpartition('/')[2]} of silero-vad {VERSION}, under this licence:\n\n"
    (model_repository / "vad" / "LICENSE").write_text(note + licence.decode().strip() + "\n", encoding="utf-8")
    return path


def download(folder: Path) -> Path:
    """Fetch the wheel with pip. Raises CalledProcessError."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*command, f"silero-vad=={VERSION}"], check=True)
    return next(folder.glob("*.whl"))


def main() -> None:
    """Install, and say where."""
    parser = argparse.ArgumentParser(prog="python -m scripts.vad.install", description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, nargs="?", help=f"silero_vad-{VERSION} (default: downloaded)")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo", help="folder to write to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            print(install(arguments.wheel or download(Path(folder)), arguments.model_repo))
        except (WrongFileError, OSError, subprocess.CalledProcessError) as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
