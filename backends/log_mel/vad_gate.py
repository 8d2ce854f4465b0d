"""The voice activity gate: what is not speech reaches the features as digital silence.

Whether audio comes just before speech is known only later. So a gated stream is some chunks late: they are held back
until the detector has heard what follows them, and END lets all of it through. What comes out is the same stream, cut
into the same chunks; only the first requests give nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.request_parameters import boolean, number
from common.speech_detector import SAMPLE_RATE, WINDOW_SAMPLES, DetectorState, Float32, SpeechDetector

# Held back at least: 320 ms to keep before speech, and a window that is not whole yet.
LOOK_AHEAD_SAMPLES = 11 * WINDOW_SAMPLES
# Speech ends below this much less than where it begins, as in Silero's own iterator.
_EXIT_MARGIN = 0.15
_PARAMETERS = ("vad_gate", "vad_threshold", "vad_hangover_ms")


@dataclass(frozen=True)
class GateOptions:
    """What a stream asks for at its START.

    Attributes:
        threshold: least probability of a window with speech.
        hangover_samples: kept after speech.
    """

    threshold: float
    hangover_samples: int

    @staticmethod
    def requested(parameters: Mapping[str, str | int | float | bool]) -> GateOptions | None:
        """Read the request parameters vad_gate, vad_threshold and vad_hangover_ms; None for no gate.

        Raises:
            ValueError: a value out of range; an unknown parameter vad_*.
        """
        unknown = [name for name in parameters if name.startswith("vad_") and name not in _PARAMETERS]
        if unknown:
            raise ValueError(f"unknown parameter {unknown[0]}; allowed: {', '.join(_PARAMETERS)}")
        wanted = boolean(parameters, "vad_gate", False)
        threshold = number(parameters, "vad_threshold", 0.5, 0.01, 0.99)
        hangover_ms = number(parameters, "vad_hangover_ms", 500, 300, 10_000)
        return GateOptions(threshold, round(hangover_ms * SAMPLE_RATE / 1000)) if wanted else None

    @staticmethod
    def refuse(parameters: Mapping[str, str | int | float | bool], reason: str) -> None:
        """Raise ValueError with a reason when a request that cannot ask for a gate has a parameter vad_*."""
        misplaced = [name for name in parameters if name.startswith("vad_")]
        if misplaced:
            raise ValueError(f"parameter {misplaced[0]} {reason}")


@dataclass
class GateState:
    """What a gated stream keeps between chunks.

    Attributes:
        options: set at START.
        before_samples: kept before speech.
        detector: of the stream.
        held: audio not let through yet, [samples].
        kept: which of it is speech or close to it.
        received: samples so far.
        windows: windows the detector has heard so far.
        open_until: sample up to which the gate is open whatever comes.
        in_speech: whether the latest window was speech.
    """

    options: GateOptions
    before_samples: int
    detector: DetectorState = field(default_factory=DetectorState)
    held: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    kept: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    received: int = 0
    windows: int = 0
    open_until: int = 0
    in_speech: bool = False

    def receive(self, audio: Float32) -> None:
        """Hold [samples] of new audio."""
        numbers = np.arange(self.received, self.received + len(audio))
        self.held = np.concatenate([self.held, audio])
        self.kept = np.concatenate([self.kept, numbers < self.open_until])
        self.received += len(audio)

    def hear(self, probabilities: Float32) -> int:
        """Open the gate around the windows with speech, [windows] new ones; return how many there are."""
        first_held = self.received - len(self.held)
        speech_windows = 0
        for probability in probabilities.tolist():
            start = self.windows * WINDOW_SAMPLES
            self.windows += 1
            self.in_speech = probability >= self.options.threshold - (_EXIT_MARGIN if self.in_speech else 0)
            if self.in_speech:
                speech_windows += 1
                self.open_until = start + WINDOW_SAMPLES + self.options.hangover_samples
                self.kept[max(0, start - self.before_samples - first_held) : self.open_until - first_held] = True
        return speech_windows

    def release(self, samples: int) -> Float32:
        """Let the oldest [samples] through, silenced where there is no speech."""
        released: Float32 = np.where(self.kept[:samples], self.held[:samples], np.float32(0))
        self.held, self.kept = self.held[samples:], self.kept[samples:]
        return released


class SpeechGate:
    """The gate of one model. Loads the detector when the first stream asks for it."""

    def __init__(self, graph: Path, chunk_samples: int, count: Callable[[int, int], None]) -> None:
        """Prepare.

        Args:
            graph: of the detector.
            chunk_samples: samples of a chunk.
            count: told after each call how many windows of 32 ms had speech, and how many there were.
        """
        self._graph = graph
        self._delay = -(-LOOK_AHEAD_SAMPLES // chunk_samples) * chunk_samples
        self._count = count
        self._detector: SpeechDetector | None = None

    def requested(self, parameters: Mapping[str, str | int | float | bool]) -> GateState | None:
        """Return the gate of a stream that starts, None when it wants none. Raises ValueError."""
        options = GateOptions.requested(parameters)
        if options is None:
            return None
        if self._detector is None:
            try:
                self._detector = SpeechDetector(self._graph)
            except FileNotFoundError as error:
                raise ValueError(f"parameter vad_gate is true, but this server has no detector: {error}") from None
        return GateState(options, (self._delay - WINDOW_SAMPLES) // WINDOW_SAMPLES * WINDOW_SAMPLES)

    def apply(self, gates: Sequence[GateState], pieces: Sequence[Float32], ends: Sequence[bool]) -> list[Float32]:
        """Pass the next piece of each stream through its gate.

        Args:
            gates: one for each stream.
            pieces: [samples] each.
            ends: whether it is the last.

        Returns:
            audio of each stream: a chunk, or nothing while the first ones are held back; at the end all that is held.
        """
        if self._detector is None:
            raise RuntimeError("no stream has asked for the gate")
        heard = self._detector.listen([gate.detector for gate in gates], pieces, ends)
        released, speech_windows = [], 0
        for gate, piece, end, probabilities in zip(gates, pieces, ends, heard, strict=True):
            gate.receive(piece)
            speech_windows += gate.hear(probabilities)
            released.append(gate.release(len(gate.held) if end else max(0, len(gate.held) - self._delay)))
        self._count(speech_windows, sum(map(len, heard)))
        return released
