"""From text to token ids, for phrases to listen for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sentencepiece


class Tokenizer:
    """The SentencePiece model that the transducer was trained with."""

    def __init__(self, path: Path) -> None:
        """Load it. Raises FileNotFoundError."""
        if not path.is_file():
            raise FileNotFoundError(f"tokenizer {path} does not exist")
        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        letters = "".join(self._processor.id_to_piece(index) for index in range(self._processor.vocab_size()))
        letters = letters.replace("<unk>", "").replace("<s>", "").replace("</s>", "")
        self._upper, self._lower = letters == letters.upper(), letters == letters.lower()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, in the vocabulary's case where it has only one.

        Raises:
            ValueError: a text has a character that the vocabulary cannot write; it is named.
        """
        cased = [text.upper() if self._upper else text.lower() if self._lower else text for text in texts]
        encoded: list[list[int]] = self._processor.encode(cased)
        unknown = self._processor.unk_id()
        for text, ids in zip(texts, encoded, strict=True):
            if unknown in ids or not ids:
                raise ValueError(f"{text!r} cannot be written with the letters of the model's vocabulary")
        return encoded
