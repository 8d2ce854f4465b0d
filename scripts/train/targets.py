"""Label sequences of a transcript: BPE pieces for the transducer, characters for the auxiliary head."""

from typing import Protocol

CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"
"""Labels 1 to 28 of the character head, in this order; 0 is its blank."""


class Tokenizer(Protocol):
    """What the recipe needs of a NeMo tokenizer."""

    def text_to_ids(self, text: str) -> list[int]:
        """BPE pieces of a normalised transcript."""


class Targets:
    """Turns normalised transcripts into labels."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._characters = {character: label for label, character in enumerate(CHARACTERS, start=1)}

    def pieces(self, text: str) -> list[int]:
        """BPE labels."""
        return self._tokenizer.text_to_ids(text)

    def characters(self, text: str) -> list[int]:
        """Character labels.

        Raises:
            KeyError: the text was not normalised.
        """
        return [self._characters[character] for character in text]
