"""Prometheus counters of what a voice activity detector heard; their quotient over time is the speech ratio."""

from __future__ import annotations

import triton_python_backend_utils as pb_utils

from common.speech_detector import WINDOW_SECS


class SpeechMetrics:
    """`amira_vad_speech_seconds_total` and `amira_vad_audio_seconds_total` of one model."""

    def __init__(self, model_name: str) -> None:
        """Register both counters, at zero."""
        # Families are kept beside their metrics: a metric whose family is gone raises.
        self._families = [
            pb_utils.MetricFamily(name=name, description=text, kind=pb_utils.MetricFamily.COUNTER)
            for name, text in (
                ("amira_vad_speech_seconds_total", "Audio in which the voice activity detector heard speech"),
                ("amira_vad_audio_seconds_total", "Audio that the voice activity detector listened to"),
            )
        ]
        self._speech, self._audio = (family.Metric(labels={"model": model_name}) for family in self._families)

    def count(self, speech_windows: int, windows: int) -> None:
        """Add windows of 32 ms: those with speech, and all. Each is a round trip to the server process."""
        if speech_windows:
            self._speech.increment(speech_windows * WINDOW_SECS)
        if windows:
            self._audio.increment(windows * WINDOW_SECS)
