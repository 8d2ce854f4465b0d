"""Triton adapter of Silero VAD for whole recordings. Requests of one call share the runs of the graph."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# First, not last: Silero's own package, where it is installed, has the name of this folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.admission import Admission
from common.client_key import client_key
from common.launcher import Launcher
from common.parameters import ModelConfig
from common.speech_detector import SAMPLE_RATE, DetectorState, Float32, SpeechDetector
from common.speech_metrics import SpeechMetrics
from common.telemetry import Telemetry
from common.triton_adapter import Outputs, Request, respond
from log_mel.audio import check_audio, check_sample_rate
from silero_vad.segments import SegmentOptions, speech_segments


class TritonPythonModel:
    """AUDIO -> SPEECH_PROBABILITY, SEGMENTS."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph."""
        config = ModelConfig(args["model_config"])
        self._max_parameter_bytes = config.optional_integer("max_parameter_bytes", 1)
        self._admission = Admission.configured(config, Launcher.find())
        self._max_samples = round(config.number("max_vad_audio_secs") * SAMPLE_RATE)
        self._detector = SpeechDetector(Path(args["model_repository"]) / args["model_version"] / "model.onnx")
        self._telemetry = Telemetry(config.model_name)
        self._metrics = SpeechMetrics(self._telemetry.metrics)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one batch."""
        return respond(requests, self._process, self._telemetry)

    def finalize(self) -> None:
        """Publish the last metrics."""
        self._telemetry.close()

    def _process(self, requests: list[Request]) -> list[Outputs | Exception]:
        results: list[Outputs | Exception] = [RuntimeError("not processed")] * len(requests)
        accepted: dict[int, tuple[Float32, SegmentOptions]] = {}
        for index, request in enumerate(requests):
            try:
                accepted[index] = self._accept(request)
            except ValueError as error:
                results[index] = error
        if accepted:
            recordings = [audio for audio, _ in accepted.values()]
            states = [DetectorState() for _ in recordings]
            heard = self._detector.listen(states, recordings, [True] * len(recordings))
            for (index, (audio, options)), probabilities in zip(accepted.items(), heard, strict=True):
                results[index] = _outputs(probabilities, len(audio), options)
            thresholds = [options.threshold for _, options in accepted.values()]
            self._metrics.count(
                sum(int((p >= t).sum()) for p, t in zip(heard, thresholds, strict=True)),
                sum(map(len, heard)),
            )
        return results

    def _accept(self, request: Request) -> tuple[Float32, SegmentOptions]:
        """Check one request. Raises ValueError."""
        parameters = request.parameters(self._max_parameter_bytes)
        self._admission.admit(client_key(parameters), sequence_id=request.sequence_id)
        check_sample_rate(parameters, SAMPLE_RATE)
        options = SegmentOptions.requested(parameters)
        audio = check_audio(request.array("AUDIO"))
        if not 0 < len(audio) <= self._max_samples:
            raise ValueError(
                f"AUDIO has {len(audio)} samples; allowed: 1 to {self._max_samples} "
                f"({self._max_samples / SAMPLE_RATE:g} s)"
            )
        return audio, options


def _outputs(probabilities: Float32, samples: int, options: SegmentOptions) -> Outputs:
    """One request's outputs, batch dimension added; segments in seconds."""
    segments = np.array(speech_segments(probabilities, samples, options), np.float32).reshape(1, -1, 2)
    return {"SPEECH_PROBABILITY": probabilities[None], "SEGMENTS": segments / np.float32(SAMPLE_RATE)}
