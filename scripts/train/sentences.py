"""Sentences to synthesise: usage examples of WordNet, and made-up numbers, times, commands and children's sentences.

WordNet's examples come from Debian's package `dict-wn` (WordNet 3.0, Princeton's licence, free for any use).
"""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from num2words import num2words

from scripts.text_normalization import normalize

WORDNET = Path("/usr/share/dictd/wn.dict.dz")
MIN_WORDS, MAX_WORDS = 3, 20

_MINUTES = ["o'clock", "fifteen", "thirty", "forty five", "oh five", "twenty"]
_WORDS = {
    "name": "Anna Ben Clara David Emma Felix Grace Henry Ivy Jack Kate Leo Mia Noah Olivia Peter Rosa Sam Tina Will",
    "animal": "bear bird bunny cat chick cow dog duck fish fox frog goat hen horse lamb mouse owl pig puppy turtle",
    "kind": "big little brown happy sad funny old young quick slow hungry sleepy kind brave clever quiet",
    "place": "garden house park river farm school forest kitchen beach zoo barn playground library garage",
    "thing": "ball book box cake hat kite lamp spoon shoe toy train boat apple basket flower drum blanket",
    "past": "saw found lost liked wanted carried painted hid dropped took opened cleaned",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January February March April May June July August September October November December",
    "room": "kitchen bedroom bathroom hall office",
}

_NUMBERS = {
    "small": (2, 20, "cardinal"),
    "large": (21, 9999, "cardinal"),
    "hour": (1, 12, "cardinal"),
    "digit": (0, 9, "cardinal"),
    "ordinal": (1, 31, "ordinal"),
    "year": (1800, 2026, "year"),
}

_TEMPLATES = (
    "The {kind} {animal} {past} a {thing} in the {place}.",
    "{name} and the {animal} went to the {place}.",
    "Can you see the {kind} {animal} by the {place}?",
    "I have {small} {thing}s and {name} has {small}.",
    '"Come here," said the {animal}. "I {past} your {thing}."',
    "Once there was a {kind} {animal} who lived in a {place}.",
    "Call {name} at {clock}.",
    "Set an alarm for {clock} on {day}.",
    "Turn on the lights in the {room}.",
    "Turn the volume down to {small}.",
    "Play the next song.",
    "Remind me to buy {small} {thing}s on {day}.",
    "My number is {digits}.",
    "The code is {digits}.",
    "It costs {large} dollars.",
    "She was born on the {ordinal} of {month}, {year}.",
    "There were {large} people in the {place}.",
    "What is {small} plus {small}?",
    "Press {small} to speak to {name}.",
    "Please say yes or no after the tone.",
)


def wordnet_examples(path: Path = WORDNET) -> list[str]:
    """Usage examples of WordNet's dictionary file.

    Raises:
        FileNotFoundError: Debian's `dict-wn` is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; install Debian's package dict-wn")
    text = gzip.decompress(path.read_bytes()).decode()  # dictzip is gzip with an index
    quoted = (re.sub(r"\s+", " ", example) for example in re.findall(r'"([^"]{12,110})"', text))
    return sorted({example for example in quoted if is_speakable(example)})


def is_speakable(sentence: str) -> bool:
    """Whether any voice reads the sentence as `normalize` writes it: no digits, abbreviations, initials or symbols."""
    if re.search(r"[^A-Za-z ,.;:!?'\"-]|\b[A-Z]{2,}\b|\b[A-Za-z]\.|\b(?:Mr|Mrs|Dr|St|Jr|Ms|vs|etc)\b", sentence):
        return False
    words = normalize(sentence).split()
    return MIN_WORDS <= len(words) <= MAX_WORDS and all(len(word) > 1 or word in {"a", "i", "o"} for word in words)


def _fill(slot: str, random: np.random.Generator) -> str:
    """Words for one slot of a template; numbers are spelled, as the voices and the transcript need them."""
    if slot in _NUMBERS:
        first, last, form = _NUMBERS[slot]
        return num2words(int(random.integers(first, last + 1)), to=form)  # type: ignore[no-any-return]
    if slot == "clock":
        return f"{_fill('hour', random)} {random.choice(_MINUTES)}"
    if slot == "digits":
        return " ".join(_fill("digit", random) for _ in range(random.integers(4, 8)))
    return str(random.choice(_WORDS[slot].split()))


def made_up(random: np.random.Generator) -> Iterator[str]:
    """Endless sentences from templates."""
    while True:
        template = _TEMPLATES[random.integers(len(_TEMPLATES))]
        yield re.sub(r"\{(\w+)\}", lambda match: _fill(match.group(1), random), template)
