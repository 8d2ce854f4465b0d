"""Transcripts of consecutive pieces of audio: joined, and cut."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from amira_asr.events import WORD_START, Transcript

_TranscriptT = TypeVar("_TranscriptT", bound=Transcript)


def append(earlier: Transcript, start_secs: float, later: _TranscriptT) -> _TranscriptT:
    """Join two transcripts to one of the kind of the later one, whose audio starts at `start_secs`.

    Latencies add up.
    """
    tokens = (replace(token, time_secs=token.time_secs + start_secs) for token in later.tokens)
    words = (
        replace(word, start_secs=word.start_secs + start_secs, end_secs=word.end_secs + start_secs)
        for word in later.words
    )
    segments = (
        replace(segment, start_secs=segment.start_secs + start_secs, end_secs=segment.end_secs + start_secs)
        for segment in later.segments
    )
    return replace(
        later,
        stable_words=len(earlier.words) + later.stable_words,
        segments=tuple(segments),
        text=" ".join(part.text for part in (earlier, later) if part.text),
        tokens=(*earlier.tokens, *tokens),
        words=(*earlier.words, *words),
        audio_secs=start_secs + later.audio_secs,
        latency_ms=earlier.latency_ms + later.latency_ms,
    )


def follow(finished: Transcript, current: _TranscriptT) -> _TranscriptT:
    """Put the finished segments of a sequence before its current one; times and `segments` are the current one's."""
    return replace(
        current,
        text=" ".join(part.text for part in (finished, current) if part.text),
        tokens=(*finished.tokens, *current.tokens),
        words=(*finished.words, *current.words),
        stable_words=len(finished.words) + current.stable_words,
    )


def after(transcript: _TranscriptT, seconds: float) -> _TranscriptT:
    """Return the words that do not start before a moment: what `before` leaves out. `segments` stay as they are."""
    earlier = before(transcript, seconds)
    words = transcript.words[len(earlier.words) :]
    return replace(
        transcript,
        text=" ".join(word.text for word in words),
        tokens=transcript.tokens[len(earlier.tokens) :],
        words=words,
        stable_words=max(0, transcript.stable_words - len(earlier.words)),
    )


def before(transcript: Transcript, seconds: float) -> Transcript:
    """Return the words that start before a moment, whole, as the transcript of the audio until then."""
    tokens = transcript.tokens
    later_words = (
        index for index, token in enumerate(tokens) if token.time_secs >= seconds and token.text.startswith(WORD_START)
    )
    words = tuple(word for word in transcript.words if word.start_secs < seconds)
    return Transcript(
        text=" ".join(word.text for word in words),
        tokens=tokens[: next(later_words, len(tokens))],
        words=words,
        audio_secs=seconds,
        latency_ms=0.0,
    )
