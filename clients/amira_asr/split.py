"""Recordings longer than the server takes are cut at silence."""

from __future__ import annotations

import numpy as np

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32
from amira_asr.speech import WINDOW_SAMPLES, Listen

# A cut is sought in the last part of a piece only: pieces stay long, and the detector has less to do. It hears a little
# more before, to know what it is listening to.
_SEARCH_SHARE = 0.25
_WARM_UP_SAMPLES = 30 * WINDOW_SAMPLES
# Silero ends speech below this probability.
_QUIET = 0.35
# A pause between sentences; the last one that long is taken, so that pieces stay long.
_PAUSE_WINDOWS = 16
# Without any pause the least speech-like place is taken: around a window, not a dip inside a word.
_AROUND_WINDOWS = 5


async def split_at_silence(
    audio: Float32, sample_rate: int, max_secs: float, listen: Listen
) -> list[tuple[int, Float32]]:
    """Cut a recording into pieces no longer than `max_secs`, each cut in the middle of a pause.

    Args:
        audio: [samples].
        sample_rate: Hz; the detector works at 16 kHz.
        max_secs: longest piece.
        listen: the voice activity detector.

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
    pieces = []
    start = 0
    while len(audio) - start > limit:
        first = start + int(limit * (1 - _SEARCH_SHARE))
        heard_from = max(start, first - _WARM_UP_SAMPLES)
        speech = await listen(audio[heard_from : start + limit])
        skipped = -(-(first - heard_from) // WINDOW_SAMPLES)
        whole = (start + limit - heard_from) // WINDOW_SAMPLES
        place = _best_cut(speech[skipped:whole])
        cut = start + limit if place is None else heard_from + int((skipped + place) * WINDOW_SAMPLES)
        pieces.append((start, audio[start:cut]))
        start = cut
    return [*pieces, (start, audio[start:])]


def _best_cut(speech: Float32) -> float | None:
    """Return where to cut, in windows, given the probability of speech in each; None when there are too few."""
    if len(speech) < _AROUND_WINDOWS:
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[False], speech < _QUIET, [False]])))
    pauses = edges.reshape(-1, 2).tolist()  # first window of each, and the one after its last
    if not pauses:
        around = np.convolve(speech, np.ones(_AROUND_WINDOWS), mode="valid")
        return float(around.argmin()) + _AROUND_WINDOWS / 2
    long_enough = [pause for pause in pauses if pause[1] - pause[0] >= _PAUSE_WINDOWS]
    begin, end = long_enough[-1] if long_enough else max(pauses, key=lambda pause: pause[1] - pause[0])
    return float(begin + end) / 2
