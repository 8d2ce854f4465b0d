"""From token ids back to text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_WORD_START = "▁"


@dataclass(frozen=True)
class Vocabulary:
    """SentencePiece pieces by token id. The blank is not among them: its id is `len(pieces)`."""

    pieces: tuple[str, ...]

    @staticmethod
    def load(path: Path, expected_size: int) -> Vocabulary:
        """Read one piece a line, line number = token id.

        Raises:
            ValueError: the number of lines is not `expected_size`, the model's number of labels without blank.
        """
        pieces = tuple(path.read_text(encoding="utf-8").splitlines())
        if len(pieces) != expected_size:
            raise ValueError(f"{path}: {len(pieces)} pieces; the model has {expected_size} labels besides the blank")
        return Vocabulary(pieces)

    def texts(self, tokens: Sequence[int]) -> list[str]:
        """Return the pieces of token ids."""
        return [self.pieces[token] for token in tokens]

    def starts_word(self, token: int) -> bool:
        """Whether a token begins a word."""
        return self.pieces[token].startswith(_WORD_START)

    def decode(self, tokens: Sequence[int]) -> str:
        """Join token ids to text, as SentencePiece does: pieces side by side, "▁" being a space."""
        return "".join(self.texts(tokens)).replace(_WORD_START, " ").strip()
