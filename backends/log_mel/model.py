"""Triton adapter of the log-mel front end. Parameter `mode`: "streaming" (one window a chunk) or "batch"."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import numpy as np
import triton_python_backend_utils as pb_utils

from common.draining import refuse_when_draining
from common.parameters import ModelConfig
from common.sequence_requests import Step, process_sequences
from common.sequences import SequenceTable
from common.triton_adapter import Outputs, Request, respond
from log_mel.audio import check_audio, check_sample_rate
from log_mel.mel import Float32, LogMel
from log_mel.streaming import StreamingLogMel, StreamState, Window, WindowGeometry


class TritonPythonModel:
    """AUDIO -> FEATURES, FEATURES_LENGTH."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration and the mel filterbank."""
        config = ModelConfig(args["model_config"])
        self._sample_rate = config.integer("sample_rate", 1)
        version_folder = Path(args["model_repository"]) / args["model_version"]
        self._mel = LogMel.configured(config, version_folder)
        if config.text("mode", ("streaming", "batch")) == "batch":
            self._max_samples = round(config.number("max_audio_secs") * self._sample_rate)
            self._process = self._process_utterances
            return
        self._process = self._process_chunks
        self._streaming = StreamingLogMel(self._mel, WindowGeometry.configured(config))
        self._sequences = SequenceTable(
            self._streaming.new_state,
            idle_secs=config.idle_secs,
            capacity=config.integer("max_concurrent_streams", 1),
            admit=refuse_when_draining,
        )
        # Kept beside its metric: a metric whose family is gone raises.
        self._live_family = pb_utils.MetricFamily(
            name="amira_streams_live",
            description="Sequences that the preprocessor holds",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        self._live = self._live_family.Metric(labels={"model": config.model_name})

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one batch."""
        return respond(requests, self._process)

    def _process_utterances(self, requests: list[Request]) -> list[Outputs | Exception]:
        results: list[Outputs | Exception] = []
        for request in requests:
            try:
                refuse_when_draining()
                check_sample_rate(request.parameters(), self._sample_rate)
                audio = check_audio(request.array("AUDIO"))
                if not 0 < len(audio) <= self._max_samples:
                    raise ValueError(
                        f"AUDIO has {len(audio)} samples; allowed: 1 to {self._max_samples} "
                        f"({self._max_samples / self._sample_rate:g} s); split longer audio at silence"
                    )
                features = self._mel.utterance(audio)
                results.append(_outputs(Window(features, len(features))))
            except ValueError as error:
                results.append(error)
        return results

    def _process_chunks(self, requests: list[Request]) -> list[Outputs | Exception]:
        before = len(self._sequences)
        results = process_sequences(self._sequences, requests, self._windows)
        if len(self._sequences) != before:  # each set is a round trip to the server process
            self._live.set(len(self._sequences))
        return results

    def _windows(self, steps: list[Step[StreamState]]) -> list[Outputs | Exception]:
        results: list[Outputs | Exception] = [_outputs(self._streaming.empty_window())] * len(steps)
        accepted: list[int] = []
        frames: list[Float32] = []
        for index, step in enumerate(steps):
            if step.releases:
                continue
            try:
                frames.append(self._accept(step))
                accepted.append(index)
            except ValueError as error:
                results[index] = error
        if accepted:
            # One transform for the frames of all streams: the cost of NumPy calls is shared.
            features = self._mel.features(np.concatenate(frames))
            parts = np.split(features, np.cumsum([len(part) for part in frames])[:-1])
            for index, part in zip(accepted, parts, strict=True):
                step = steps[index]
                results[index] = _outputs(self._streaming.complete(step.sequence.state, part, end=step.request.end))
        return results

    def _accept(self, step: Step[StreamState]) -> Float32:
        """Check one chunk, add it to its stream, and return the frames it completes. Raises ValueError."""
        request = step.request
        check_sample_rate(request.parameters(), self._sample_rate)
        audio = check_audio(request.array("AUDIO"))
        self._streaming.check_length(len(audio), end=request.end)
        return self._streaming.accept(step.sequence.state, audio, end=request.end)


def _outputs(window: Window) -> Outputs:
    """One request's outputs, batch dimension added, mel bands first as NeMo's encoder takes them."""
    return {"FEATURES": window.features.T[None], "FEATURES_LENGTH": np.array([[window.length]], np.int64)}
