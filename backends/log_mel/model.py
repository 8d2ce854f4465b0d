"""Triton adapter of the log-mel front end. Parameter `mode`: "streaming" (one window a chunk) or "batch"."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import numpy as np
import triton_python_backend_utils as pb_utils

from common.draining import REFUSAL, is_draining
from common.parameters import ModelConfig
from common.sequences import SequenceError, SequenceTable
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
                if is_draining():
                    raise ValueError(REFUSAL)
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
        self._sequences.expire()
        results: list[Outputs | Exception] = [RuntimeError("not processed")] * len(requests)
        accepted: list[tuple[int, StreamState, Float32]] = []
        for index, request in enumerate(requests):
            try:
                frames = self._accept(request)
                if isinstance(frames, Window):
                    results[index] = _outputs(frames)
                else:
                    accepted.append((index, *frames))
            except ValueError as error:
                self._sequences.fail(request.sequence_id, str(error))
                results[index] = error
        if accepted:
            # One transform for the frames of all streams: the cost of NumPy calls is shared.
            lengths = [len(frames) for _, _, frames in accepted]
            features = self._mel.features(np.concatenate([frames for _, _, frames in accepted]))
            for (index, state, _), part in zip(accepted, np.split(features, np.cumsum(lengths)[:-1]), strict=True):
                results[index] = _outputs(self._streaming.complete(state, part, end=requests[index].end))
        for request in requests:
            if request.end:
                self._sequences.end(request.sequence_id)
        self._live.set(len(self._sequences))
        return results

    def _accept(self, request: Request) -> tuple[StreamState, Float32] | Window:
        """Check one chunk and add it to its stream; an END after a failure yields an empty window."""
        if request.start and is_draining():
            raise SequenceError(REFUSAL)
        sequence = self._sequences.enter(request.sequence_id, start=request.start, end=request.end)
        if sequence.failure is not None:
            return self._streaming.empty_window()
        check_sample_rate(request.parameters(), self._sample_rate)
        audio = check_audio(request.array("AUDIO"))
        self._streaming.check_length(len(audio), end=request.end)
        return sequence.state, self._streaming.accept(sequence.state, audio, end=request.end)


def _outputs(window: Window) -> Outputs:
    """One request's outputs, batch dimension added, mel bands first as NeMo's encoder takes them."""
    return {"FEATURES": window.features.T[None], "FEATURES_LENGTH": np.array([[window.length]], np.int64)}
