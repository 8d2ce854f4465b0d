"""The bill of materials of the image, CycloneDX: `python -m scripts.image.sbom --out work/sbom.json`.

Its Python packages, with licences, as they are installed in a rehearsal; the models with their checksums; and the base
image, whose own contents NVIDIA or Debian list.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts.image.dockerfile import Dockerfile
from scripts.image.rehearsal import Rehearsal, RehearsalError

ROOT = Path(__file__).resolve().parents[2]
_SPECIFICATION = "1.6"


def packages(target: str) -> dict[str, Any]:
    """Return the bill of what the Dockerfile installs for a target. Raises RehearsalError when that fails."""
    dockerfile = Dockerfile(ROOT / "Dockerfile")
    stage = next(source for source in dockerfile.stages[target].sources if source.startswith("packages"))
    with tempfile.TemporaryDirectory() as folder:
        rehearsal = Rehearsal(dockerfile, ROOT, Path(folder) / "image")
        rehearsal.build(stage)
        python = rehearsal.folder / stage / "opt" / "amira" / "venv" / "bin" / "python3"
        command = [str(Path(sys.executable).parent / "cyclonedx-py"), "environment", str(python)]
        command += ["--sv", _SPECIFICATION, "--pyproject", str(ROOT / "pyproject.toml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RehearsalError(done.stderr)
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill


def models() -> list[dict[str, Any]]:
    """Return the files of the model repository as components."""
    lines = (ROOT / "model-repo" / "CHECKSUMS").read_text(encoding="utf-8").splitlines()
    files = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [
        {
            "type": "machine-learning-model" if name.endswith(".onnx") else "data",
            "bom-ref": f"model-repo/{name}",
            "name": f"model-repo/{name}",
            "hashes": [{"alg": "SHA-256", "content": digest}],
            "licenses": [{"license": {"id": "MIT" if name.startswith("vad/") else "Apache-2.0"}}],
        }
        for digest, name in files
        if not name.startswith("../")  # the checkpoint, which no image has
    ]


def base_image(target: str) -> dict[str, Any]:
    """Return the image that the target is built on."""
    dockerfile = Dockerfile(ROOT / "Dockerfile")
    bases = [stage.base for stage in dockerfile.needed(target) if stage.base not in dockerfile.stages]
    name, tag = bases[0].replace("${TRITON_VERSION}", dockerfile.arguments["TRITON_VERSION"]).rsplit(":", 1)
    return {"type": "container", "bom-ref": "base-image", "name": name, "version": tag}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=["cpu", "gpu", "gateway"], default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        bill = packages(arguments.target)
    except (RehearsalError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    bill["components"] += [base_image(arguments.target), *([] if arguments.target == "gateway" else models())]
    text = json.dumps(bill, indent=2)
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        print(f"not a CycloneDX {_SPECIFICATION} document: {problem}", file=sys.stderr)
        return 1
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(f"{arguments.out}: {len(bill['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
