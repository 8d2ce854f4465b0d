"""`model-repo/CHECKSUMS`: SHA-256 of the checkpoint and of every weight file, as `sha256sum --check` reads them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from scripts.release.expected import EXPECTED_OUTPUTS

# Names are relative to the model repository.
CHECKPOINT = "../scripts/train/default.nemo"
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


@dataclass(frozen=True)
class Checksums:
    """Hexadecimal SHA-256 by file name."""

    files: dict[str, str]

    @classmethod
    def of(cls, model_repo: Path) -> Checksums:
        """Compute those of a repository, of the checkpoint beside it, and of the expected outputs in it.

        Raises:
            FileNotFoundError: the checkpoint or the expected outputs are missing.
        """
        return cls({name: sha256(model_repo / name) for name in [CHECKPOINT, EXPECTED_OUTPUTS, *weights(model_repo)]})

    @classmethod
    def load(cls, path: Path) -> Checksums:
        """Read a file. Raises ValueError for a line that is not a checksum, FileNotFoundError when there is none."""
        files = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = _LINE.fullmatch(line)
            if match is None:
                raise ValueError(f"{path}:{number}: {line!r} is not a SHA-256, two spaces and a file name")
            files[match[2]] = match[1]
        return cls(files)

    def save(self, path: Path) -> None:
        """Write a file."""
        path.write_text("".join(f"{checksum}  {name}\n" for name, checksum in self.files.items()), encoding="utf-8")

    def differences(self, other: Checksums) -> list[str]:
        """Return a sentence for every file whose checksum in `other` is not the one here."""
        found = []
        for name in sorted(self.files.keys() | other.files.keys()):
            here, there = self.files.get(name), other.files.get(name)
            if there is None:
                found.append(f"{name} is missing")
            elif here is None:
                found.append(f"{name} has no checksum")
            elif here != there:
                found.append(f"{name} has the checksum {there[:12]}…, expected {here[:12]}…")
        return found


def weights(model_repo: Path) -> list[str]:
    """Return the names of all files in version folders: graphs, filterbanks, vocabularies. Engines are a GPU's own."""
    files = (path for path in model_repo.glob("*/*/*") if path.parent.name.isdigit() and path.name != ".gitkeep")
    return sorted(path.relative_to(model_repo).as_posix() for path in files if path.suffix != ".plan")


def sha256(path: Path) -> str:
    """Return the hexadecimal checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
