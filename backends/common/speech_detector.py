"""Silero VAD: the probability of speech in every 32 ms, for several recordings or streams at a time.

The graph sees 512 samples and the 64 before them, and keeps an LSTM state (silero-vad 6.2: `OnnxWrapper`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

Float32 = npt.NDArray[np.float32]

SAMPLE_RATE = 16000
WINDOW_SAMPLES = 512
WINDOW_SECS = WINDOW_SAMPLES / SAMPLE_RATE
_CONTEXT_SAMPLES = 64
_MEMORY = (2, 128)


@dataclass
class DetectorState:
    """What a stream keeps between pieces of audio.

    Attributes:
        memory: LSTM state, [2, 128].
        heard: the last 64 samples of the window before, then those that do not fill a window yet.
    """

    memory: Float32 = field(default_factory=lambda: np.zeros(_MEMORY, np.float32))
    heard: Float32 = field(default_factory=lambda: np.zeros(_CONTEXT_SAMPLES, np.float32))


class SpeechDetector:
    """Runs the graph on one thread; holds no stream itself."""

    def __init__(self, path: Path) -> None:
        """Load the graph. Raises FileNotFoundError when there is none."""
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: run `python -m scripts.vad.install`")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._rate = np.array(SAMPLE_RATE, np.int64)

    def listen(self, states: Sequence[DetectorState], pieces: Sequence[Float32], ends: Sequence[bool]) -> list[Float32]:
        """Take the next piece of each stream and advance its state.

        Args:
            states: one for each stream.
            pieces: [samples] each, 16 kHz in [-1, 1].
            ends: whether nothing comes after it; then a last window is filled up with silence.

        Returns:
            [windows] for each stream: the probability of speech in each window that is whole now.
        """
        windows = [self._windows(*stream) for stream in zip(states, pieces, ends, strict=True)]
        results = [np.zeros(len(item), np.float32) for item in windows]
        # Longest first, so that the streams that still have a window are always the first ones.
        order = sorted(range(len(windows)), key=lambda index: -len(windows[index]))
        memory = np.stack([states[index].memory for index in order], axis=1)
        for number in range(len(windows[order[0]])):
            active = [index for index in order if len(windows[index]) > number]
            inputs = {
                "input": np.stack([windows[index][number] for index in active]),
                "state": memory[:, : len(active)],
                "sr": self._rate,
            }
            probabilities, memory[:, : len(active)] = self._session.run(None, inputs)
            for index, probability in zip(active, probabilities[:, 0], strict=True):
                results[index][number] = probability
        for column, index in enumerate(order):
            states[index].memory = memory[:, column].copy()
        return results

    @staticmethod
    def _windows(state: DetectorState, piece: Float32, end: bool) -> Float32:  # noqa: FBT001  a row of zip
        """Return the windows that a piece completes, [windows, 64 + 512], and keep the rest."""
        audio = np.concatenate([state.heard, piece])
        if end:
            missing = -(len(audio) - _CONTEXT_SAMPLES) % WINDOW_SAMPLES
            audio = np.concatenate([audio, np.zeros(missing, np.float32)])
        count = (len(audio) - _CONTEXT_SAMPLES) // WINDOW_SAMPLES
        state.heard = audio[count * WINDOW_SAMPLES :].copy()
        if count == 0:
            return np.zeros((0, _CONTEXT_SAMPLES + WINDOW_SAMPLES), np.float32)
        every: Float32 = np.lib.stride_tricks.sliding_window_view(audio, _CONTEXT_SAMPLES + WINDOW_SAMPLES)
        return every[::WINDOW_SAMPLES]
