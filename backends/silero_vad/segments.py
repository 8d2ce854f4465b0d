"""Probabilities of speech to stretches of speech."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.request_parameters import number
from common.speech_detector import SAMPLE_RATE, WINDOW_SAMPLES

# Speech ends below this much less than where it begins, so that a segment does not flicker.
EXIT_MARGIN = 0.15
_SAMPLES_PER_MS = SAMPLE_RATE / 1000
_PARAMETERS = ("threshold", "min_silence_ms", "min_speech_ms", "pad_ms", "sample_rate")


@dataclass(frozen=True)
class SegmentOptions:
    """What counts as a segment; the defaults are Silero's.

    Attributes:
        threshold: speech begins in a window of at least this probability, and ends below it less 0.15.
        min_silence_ms: a shorter silence does not end a segment.
        min_speech_ms: a segment must be longer.
        pad_ms: added on both sides; segments that would overlap meet in the middle.
    """

    threshold: float = 0.5
    min_silence_ms: float = 100.0
    min_speech_ms: float = 250.0
    pad_ms: float = 30.0

    @staticmethod
    def requested(parameters: Mapping[str, str | int | float | bool]) -> SegmentOptions:
        """Read request parameters. Raises ValueError for one that is unknown or out of range."""
        unknown = [name for name in parameters if name not in _PARAMETERS and not name.lower().startswith("x-amira-")]
        if unknown:
            raise ValueError(f"unknown parameter {unknown[0]!r}; allowed: {', '.join(_PARAMETERS)}")
        default = SegmentOptions()
        return SegmentOptions(
            threshold=number(parameters, "threshold", default.threshold, 0.01, 0.99),
            min_silence_ms=number(parameters, "min_silence_ms", default.min_silence_ms, 0, 60_000),
            min_speech_ms=number(parameters, "min_speech_ms", default.min_speech_ms, 0, 60_000),
            pad_ms=number(parameters, "pad_ms", default.pad_ms, 0, 10_000),
        )


def speech_segments(
    probabilities: npt.NDArray[np.float32], samples: int, options: SegmentOptions
) -> list[tuple[int, int]]:
    """Return (first sample, sample after the last) of every segment, in order.

    Silero's `get_speech_timestamps` without a longest duration.

    Args:
        probabilities: [windows] of one recording.
        samples: its length.
        options: what counts as a segment.
    """
    speech = _long_enough(probabilities, samples, options)
    return _padded(speech, samples, options.pad_ms * _SAMPLES_PER_MS)


def _long_enough(
    probabilities: npt.NDArray[np.float32], samples: int, options: SegmentOptions
) -> list[tuple[int, int]]:
    exit_threshold = max(options.threshold - EXIT_MARGIN, 0.01)
    shortest = options.min_speech_ms * _SAMPLES_PER_MS
    speech: list[tuple[int, int]] = []
    start: int | None = None
    silence: int | None = None  # where the silence began that may end the segment
    for window, probability in enumerate(probabilities.tolist()):
        here = window * WINDOW_SAMPLES
        if probability >= options.threshold:
            silence = None
            if start is None:
                start = here
        elif probability < exit_threshold and start is not None:
            silence = here if silence is None else silence
            if here - silence >= options.min_silence_ms * _SAMPLES_PER_MS:
                if silence - start > shortest:
                    speech.append((start, silence))
                start = silence = None
    if start is not None and samples - start > shortest:
        speech.append((start, samples))
    return speech


def _padded(speech: list[tuple[int, int]], samples: int, pad: float) -> list[tuple[int, int]]:
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(speech)]
    pads = [pad, *(pad if gap >= 2 * pad else gap // 2 for gap in gaps), pad]
    return [
        (int(max(0, start - before)), int(min(samples, end + after)))
        for (start, end), before, after in zip(speech, pads, pads[1:], strict=False)
    ]
