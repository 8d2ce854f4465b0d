"""Counters of what a voice activity detector heard; their quotient over time is the speech ratio."""

from __future__ import annotations

from common.metric_catalogue import VAD_AUDIO_SECONDS, VAD_SPEECH_SECONDS
from common.metrics import Metrics
from common.speech_detector import WINDOW_SECS


class SpeechMetrics:
    """`amira_vad_speech_seconds_total` and `amira_vad_audio_seconds_total` of one model."""

    def __init__(self, metrics: Metrics) -> None:
        """Register both counters, at zero."""
        self._speech, self._audio = metrics.counter(VAD_SPEECH_SECONDS), metrics.counter(VAD_AUDIO_SECONDS)

    def count(self, speech_windows: int, windows: int) -> None:
        """Add windows of 32 ms: those with speech, and all."""
        self._speech.add(speech_windows * WINDOW_SECS)
        self._audio.add(windows * WINDOW_SECS)
