"""Transcripts as JSON: the fields of the older server's answers, and more beside them."""

from __future__ import annotations

from statistics import fmean

from pydantic import BaseModel

from amira_asr import Final, Partial, Segment, Transcript, Word


class WordBody(BaseModel):
    """One word, with its times in seconds from the start of the audio."""

    word: str
    start: float
    end: float
    confidence: float

    @staticmethod
    def of(word: Word) -> WordBody:
        """Convert."""
        return WordBody(
            word=word.text,
            start=seconds(word.start_secs),
            end=seconds(word.end_secs),
            confidence=round(word.confidence, 4),
        )


class SegmentBody(BaseModel):
    """A finished part of the audio, and why it ended."""

    text: str
    start: float
    end: float
    rule: str

    @staticmethod
    def of(segment: Segment) -> SegmentBody:
        """Convert."""
        return SegmentBody(
            text=segment.text, start=seconds(segment.start_secs), end=seconds(segment.end_secs), rule=segment.rule
        )


class AlternativeBody(BaseModel):
    """Another reading of the latest segment."""

    text: str
    score: float


class BatchBody(BaseModel):
    """Answer to `POST /v2/decode/batch/{model}`.

    Attributes:
        text: what was said.
        tokens: ids in the model's vocabulary.
        audio_length_samples: samples at the model's rate.
        features_length: feature frames, by the hop of the model's front end; null for front ends that do not say.
        encoded_length: encoder frames of the whole recording, by the model's subsampling; null as above.
        confidence: mean of the tokens' confidences, 0 to 1; 0 without tokens.
        audio_secs: seconds of audio.
        words: words with times.
        segments: parts of the recording, where endpointing was asked for.
        alternatives: other readings, where they were asked for.
    """

    text: str
    tokens: list[int]
    audio_length_samples: int
    features_length: int | None
    encoded_length: int | None
    confidence: float
    audio_secs: float
    words: list[WordBody]
    segments: list[SegmentBody] = []
    alternatives: list[AlternativeBody] = []


class StreamBody(BaseModel):
    """A message of `WS /v2/decode/stream/{model}`.

    Attributes:
        type: `partial`, or `final` for the last one.
        text: the whole text so far.
        tokens: all token ids so far.
        confidence: mean of the tokens' confidences, 0 to 1; 0 without tokens.
        stable_text: the words at the beginning of `text` that will not change any more.
        audio_secs: seconds of audio that the text covers.
        latency_ms: from sending the latest chunk to Triton to its answer.
        words_from: index of the first word in `words`; null where words were not asked for.
        words: words from there on.
        segments: those that ended with this message.
        alternatives: other readings of the latest segment, where they were asked for.
    """

    type: str
    text: str
    tokens: list[int]
    confidence: float
    stable_text: str
    audio_secs: float
    latency_ms: float
    words_from: int | None = None
    words: list[WordBody] = []
    segments: list[SegmentBody] = []
    alternatives: list[AlternativeBody] = []

    @staticmethod
    def of(event: Partial | Final, words_from: int | None) -> StreamBody:
        """Convert; words are sent from an index on, or not at all."""
        return StreamBody(
            type="final" if isinstance(event, Final) else "partial",
            text=event.text,
            tokens=[token.id for token in event.tokens],
            confidence=confidence(event),
            stable_text=" ".join(word.text for word in event.words[: event.stable_words]),
            audio_secs=seconds(event.audio_secs),
            latency_ms=round(event.latency_ms, 1),
            words_from=words_from,
            words=[] if words_from is None else [WordBody.of(word) for word in event.words[words_from:]],
            segments=[SegmentBody.of(segment) for segment in event.segments],
            alternatives=alternatives(event),
        )


def confidence(transcript: Transcript) -> float:
    """Return the mean confidence of the tokens, 0 without any."""
    return round(fmean(token.confidence for token in transcript.tokens), 4) if transcript.tokens else 0.0


def alternatives(transcript: Transcript) -> list[AlternativeBody]:
    """Return the other readings."""
    return [AlternativeBody(text=item.text, score=item.score) for item in transcript.alternatives]


def seconds(value: float) -> float:
    """Round a time to milliseconds."""
    return round(value, 3)
