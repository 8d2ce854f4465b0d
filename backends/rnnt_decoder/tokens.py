"""What has been recognised: tokens with their times, and segments of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

from rnnt_decoder.vocabulary import Vocabulary


@dataclass
class Tokens:
    """Emitted labels, one entry each in every list.

    Attributes:
        ids: labels, none of them the blank.
        frames: encoder frame of each, counted from the start of the audio.
        log_probs: natural-log probability of each.
        confidences: confidence in each, 0 to 1.
    """

    ids: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def append(self, label: int, frame: int, log_prob: float, confidence: float) -> None:
        """Add one."""
        self.ids.append(label)
        self.frames.append(frame)
        self.log_probs.append(log_prob)
        self.confidences.append(confidence)

    def extend(self, other: Tokens) -> None:
        """Add those of another."""
        self.ids += other.ids
        self.frames += other.frames
        self.log_probs += other.log_probs
        self.confidences += other.confidences


@dataclass(frozen=True)
class Alternative:
    """One entry of an n-best list.

    Attributes:
        tokens: its labels.
        score: natural-log probability, with fusion and normalisation as asked for.
    """

    tokens: Tokens
    score: float


@dataclass(frozen=True)
class Segment:
    """A finished part of a stream; nothing of it changes any more.

    Attributes:
        alternatives: the best hypotheses, best first; at least one.
        start_frame: encoder frame where it begins.
        end_frame: encoder frame behind it, where the next one begins.
        rule: why it ended, see `endpoints.py`.
    """

    alternatives: tuple[Alternative, ...]
    start_frame: int
    end_frame: int
    rule: str

    @property
    def tokens(self) -> Tokens:
        """What was said."""
        return self.alternatives[0].tokens


class Word(NamedTuple):
    """A word and its tokens' times.

    Attributes:
        text: without the mark of its start.
        start_frame: encoder frame of its first token.
        end_frame: the frame after its last token.
        confidence: the least of its tokens' (NeMo: `aggregation: min`).
    """

    text: str
    start_frame: int
    end_frame: int
    confidence: float


def words(tokens: Tokens, vocabulary: Vocabulary) -> list[Word]:
    """Group tokens to words. Every response does this, so it is written to be fast."""
    ids, frames, confidences = tokens.ids, tokens.frames, tokens.confidences
    begins, plain = vocabulary.begins_word, vocabulary.plain
    bounds = [index for index, label in enumerate(ids) if index == 0 or begins[label]]
    bounds.append(len(ids))
    found = []
    for first, last in itertools.pairwise(bounds):
        text = "".join([plain[label] for label in ids[first:last]])
        if text:
            found.append(Word(text, frames[first], frames[last - 1] + 1, min(confidences[first:last])))
    return found
