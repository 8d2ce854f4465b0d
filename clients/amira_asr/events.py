"""What a stream yields: transcripts with their tokens and words, all frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WORD_START = "▁"


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the model.

    Attributes:
        id: index in the model's vocabulary.
        text: its SentencePiece piece; a leading "▁" starts a word.
        time_secs: when it was heard, from the start of the audio.
        confidence: how sure the model was, 0 to 1, by the entropy of its choices (docs/decoding.md).
    """

    id: int
    text: str
    time_secs: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Word:
    """One word.

    Attributes:
        text: the word.
        start_secs: time of its first token.
        end_secs: time of its last token, plus one frame of the encoder.
        confidence: the lowest of its tokens'.
    """

    text: str
    start_secs: float
    end_secs: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished part of a stream.

    Attributes:
        text: what was said in it.
        start_secs: when its first word starts.
        end_secs: when its last word ends.
        rule: why it ended: "silence", "no_speech", "length", "finalize" or "end".
    """

    text: str
    start_secs: float
    end_secs: float
    rule: str


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to read the latest segment.

    Attributes:
        text: of the segment.
        score: natural-log probability, per token unless the options say otherwise.
    """

    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What has been recognised of a stream or a recording.

    Attributes:
        text: the whole text so far.
        tokens: its tokens.
        words: its words.
        audio_secs: seconds of audio that the text covers.
        latency_ms: from sending the audio to receiving this.
        stable_words: how many of the words will not change any more.
        segments: those that ended with this event.
        alternatives: the best readings of the latest segment, best first, if more than one was asked for.
    """

    text: str
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]
    audio_secs: float
    latency_ms: float
    stable_words: int = 0
    segments: tuple[Segment, ...] = ()
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Partial(Transcript):
    """A transcript that later audio will extend."""


@dataclass(frozen=True, slots=True)
class Final(Transcript):
    """The transcript of the whole stream or recording."""


@dataclass(frozen=True, slots=True)
class ServerModel:
    """A recogniser that the server offers.

    Attributes:
        name: model name.
        version: model version.
        ready: whether it accepts requests.
        streaming: whether it takes chunks of a stream rather than whole recordings.
        sample_rate: of the audio it takes, Hz.
        chunk_ms: duration of a chunk of a stream.
        max_audio_secs: longest recording; None for a stream.
    """

    name: str
    version: str
    ready: bool
    streaming: bool
    sample_rate: int
    chunk_ms: float
    max_audio_secs: float | None


def words_of(tokens: Sequence[Token], frame_secs: float) -> tuple[Word, ...]:
    """Group tokens to words at the pieces that begin with "▁"."""
    groups: list[list[Token]] = []
    for token in tokens:
        if token.text.startswith(WORD_START) or not groups:
            groups.append([])
        groups[-1].append(token)
    words = (
        Word(
            text="".join(token.text for token in group).replace(WORD_START, ""),
            start_secs=group[0].time_secs,
            end_secs=group[-1].time_secs + frame_secs,
            confidence=min(token.confidence for token in group),
        )
        for group in groups
    )
    return tuple(word for word in words if word.text)


def stable_words_of(tokens: Sequence[Token], stable: int) -> int:
    """Return how many words cannot change when the first `stable` tokens cannot: the last of them may still grow."""
    starts = [index for index, token in enumerate(tokens) if index == 0 or token.text.startswith(WORD_START)]
    return max(0, sum(start < stable for start in starts) - 1)
