"""tokens.txt of sherpa-onnx -> our vocabulary.txt: the blank goes, every other piece keeps its order."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.export.zipformer.files import UnsupportedZipformerError

BLANK_ID = 0
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def read_tokens(path: Path, size: int) -> list[str]:
    """Return the pieces by their original id, the blank among them.

    Raises:
        FileNotFoundError: there is no such file.
        UnsupportedZipformerError: the ids are not 0 to size - 1; the blank is not 0; pieces are bytes.
    """
    pieces: dict[int, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        piece, _, token_id = line.rstrip().rpartition(" ")
        if not piece or not token_id.isdigit():
            raise UnsupportedZipformerError(f"{path.name}, line {number} is {line!r}; expected a piece and its id")
        pieces[int(token_id)] = piece
    if sorted(pieces) != list(range(size)):
        raise UnsupportedZipformerError(f"{path.name} has {len(pieces)} ids; the decoder has 0 to {size - 1}")
    if pieces[BLANK_ID] not in ("<blk>", "<eps>", "<blank>"):
        raise UnsupportedZipformerError(f"{path.name}: id {BLANK_ID} is {pieces[BLANK_ID]!r}; it must be the blank")
    if any(_BYTE.fullmatch(piece) for piece in pieces.values()):
        raise UnsupportedZipformerError(f"{path.name} has pieces for single bytes, which the decoder does not join")
    return [pieces[index] for index in range(size)]


def unknown_id(pieces: list[str]) -> int | None:
    """Return the original id of `<unk>`, which sherpa-onnx never emits."""
    return pieces.index("<unk>") if "<unk>" in pieces else None


def write_vocabulary(pieces: list[str], path: Path) -> None:
    """Write one piece a line, line number = our label."""
    path.write_text("\n".join(pieces[BLANK_ID + 1 :]) + "\n", encoding="utf-8")
