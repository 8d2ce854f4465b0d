"""From token ids back to text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_WORD_START = "▁"


@dataclass(frozen=True)
class Vocabulary:
    """SentencePiece pieces by token id. The blank is not among them: its id is `len(pieces)`.

    Attributes:
        pieces: as the tokenizer has them.
        encoded: the same in UTF-8.
        begins_word: whether each begins a word.
        plain: without the mark of a word's start.
    """

    pieces: tuple[str, ...]
    encoded: tuple[bytes, ...] = field(init=False, repr=False)
    begins_word: tuple[bool, ...] = field(init=False, repr=False)
    plain: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Derive once what every response needs."""
        object.__setattr__(self, "encoded", tuple(piece.encode() for piece in self.pieces))
        object.__setattr__(self, "begins_word", tuple(piece.startswith(_WORD_START) for piece in self.pieces))
        object.__setattr__(self, "plain", tuple(piece.replace(_WORD_START, "") for piece in self.pieces))

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

    def starts_word(self, token: int) -> bool:
        """Whether a token begins a word."""
        return self.begins_word[token]

    def decode(self, tokens: Sequence[int]) -> str:
        """Join token ids to text, as SentencePiece does: pieces side by side, "▁" being a space."""
        return "".join([self.pieces[token] for token in tokens]).replace(_WORD_START, " ").strip()
