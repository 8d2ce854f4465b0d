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
        confidence: its probability, 0 to 1.
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
        confidence: lowest probability among its tokens.
    """

    text: str
    start_secs: float
    end_secs: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What has been recognised of a stream or a recording.

    Attributes:
        text: the whole text so far.
        tokens: its tokens.
        words: its words.
        audio_secs: seconds of audio that the text covers.
        latency_ms: from sending the audio to receiving this.
    """

    text: str
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]
    audio_secs: float
    latency_ms: float


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
