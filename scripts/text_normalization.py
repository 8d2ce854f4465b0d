"""The one text normalisation: applied to training text, and to reference and hypothesis before scoring."""

import re
import unicodedata
from functools import cache

from num2words import num2words

_CLOCK = re.compile(r"\b(\d{1,2}):([0-5]\d)\b")
_ORDINAL = re.compile(r"\b(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)\b")
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")
_SYMBOLS = {"&": " and ", "%": " percent ", "+": " plus ", "@": " at ", "=": " equals "}


@cache
def _spell(number: str, form: str) -> str:
    digits = number.replace(",", "")
    return f" {num2words(float(digits) if '.' in digits else int(digits), to=form)} "


def _spell_clock(match: re.Match[str]) -> str:
    hours, minutes = match.group(1), match.group(2)
    if minutes == "00":
        return f"{_spell(hours, 'cardinal')} o'clock "
    tens = " oh " if minutes.startswith("0") else " "
    return f"{_spell(hours, 'cardinal')}{tens}{_spell(minutes.lstrip('0'), 'cardinal')}"


def normalize(text: str) -> str:
    """Bring English text to the form in which it is trained on and scored.

    Lower case; digits spelled in words (num2words; ``7:05`` is read as a clock time, ``3rd`` as an ordinal);
    ``& % + @ =`` spelled; hyphens and dashes become spaces; apostrophes stay only inside words; accents and all other
    punctuation are dropped; white space is single.

    Args:
        text: any English text.

    Returns:
        Words of ``a-z`` and inner apostrophes, separated by single spaces; empty when nothing is speakable.
    """
    text = text.replace("’", "'").replace("ʼ", "'").replace("‘", "'")
    text = unicodedata.normalize("NFKD", text).lower()
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    for symbol, spoken in _SYMBOLS.items():
        text = text.replace(symbol, spoken)
    text = _CLOCK.sub(_spell_clock, text)
    text = _ORDINAL.sub(lambda match: _spell(match.group(1), "ordinal"), text)
    text = _NUMBER.sub(lambda match: _spell(match.group(0), "cardinal"), text)
    text = re.sub(r"(?<=[a-z])\.(?=[a-z])", "", text) if re.search(r"\b(?:[a-z]\.){2,}", text) else text
    text = re.sub(r"[^a-z']+", " ", text)
    words = (word.strip("'") for word in text.split())
    return " ".join(word for word in words if word)
