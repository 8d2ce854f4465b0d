"""Triton adapter of the front ends. Parameter `mode` chooses what a request is, and the features.

"streaming" and "batch": NeMo's, one window a chunk or a whole utterance. "kaldi_streaming" and "kaldi_batch": kaldi's,
the windows that a chunk completes or all those of an utterance.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.admission import Admission
from common.client_key import client_key
from common.launcher import Launcher
from common.metric_catalogue import AUDIO_SECONDS, SERVER_RESTARTS, UTTERANCES_ACCEPTED
from common.parameters import ModelConfig
from common.sequence_requests import Step, process_sequences
from common.sequences import SequenceTable
from common.speech_metrics import SpeechMetrics
from common.telemetry import Telemetry
from common.triton_adapter import Outputs, Request, respond, send
from common.utterance_metrics import UtteranceMetrics
from common.utterance_places import UtterancePlaces
from log_mel.audio import check_audio, check_checksum, check_length, check_sample_rate
from log_mel.batch_pacing import BatchPacing
from log_mel.front_end import Chunk, Window
from log_mel.opening import open_streaming, open_utterances
from log_mel.stream import Stream
from log_mel.stream_limits import StreamLimits
from log_mel.stream_telemetry import StreamTelemetry
from log_mel.vad_gate import GateOptions, SpeechGate


class TritonPythonModel:
    """AUDIO -> FEATURES, FEATURES_LENGTH."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration, and NeMo's filterbank where it is the front end."""
        config = ModelConfig(args["model_config"])
        self._sample_rate = config.integer("sample_rate", 1)
        mode = config.text("mode", ("streaming", "batch", "kaldi_streaming", "kaldi_batch"))
        self._launcher = Launcher.find()
        self._admission = Admission.configured(config, self._launcher)
        self._max_parameter_bytes = config.optional_integer("max_parameter_bytes", 1)
        folder, kaldi = Path(args["model_repository"]) / args["model_version"], mode.startswith("kaldi")
        self._telemetry = Telemetry(config.model_name, batch_sizes=config.is_sequence_model)
        self._pacing: BatchPacing | None = None
        if mode.endswith("batch"):
            self._utterance = open_utterances(config, folder, kaldi=kaldi)
            self._max_samples = round(config.number("max_audio_secs") * self._sample_rate)
            self._places = self._configured_places(config)
            self._accepted = UtteranceMetrics(self._telemetry.metrics, UTTERANCES_ACCEPTED)
            self._audio_secs = self._telemetry.metrics.counter(AUDIO_SECONDS)
            self._process = self._process_utterances
            return
        self._process = self._process_chunks
        self._chunk_samples = config.integer("chunk_samples", 1)
        self._streaming = open_streaming(config, folder, kaldi=kaldi)
        limit = config.integer("max_concurrent_streams", 1)
        self._streams = StreamTelemetry(
            self._telemetry.metrics,
            self._telemetry.log,
            sample_rate=self._sample_rate,
            limit=limit,
            probe_id=self._launcher.probe_id,
        )
        self._sequences = SequenceTable(
            lambda: Stream(self._streaming.new_state()),
            lambda stream: self._streaming.release(stream.features),
            idle_secs=config.idle_secs,
            capacity=limit,
            exempt_id=self._launcher.probe_id,
            observer=self._streams,
        )
        for cause, gauge in self._telemetry.metrics.gauges(SERVER_RESTARTS).items():
            gauge.set(self._launcher.restarts.get(cause, 0))
        self._limits = StreamLimits.configured(config)
        self._pacing = BatchPacing.configured(config, self._sample_rate, self._chunk_samples)
        detector = Path(args["model_repository"]).parent / "vad" / "1" / "model.onnx"
        self._gate = SpeechGate(detector, self._chunk_samples, SpeechMetrics(self._telemetry.metrics).count)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one batch, and rest where the next ones may share theirs."""
        responses = respond(requests, self._process, self._telemetry)
        rest_secs = self._pacing.rest_secs(len(self._sequences)) if self._pacing is not None else 0.0
        if not rest_secs:
            return responses
        send(requests, responses)
        time.sleep(rest_secs)
        return [None] * len(requests)

    def finalize(self) -> None:
        """Publish the last metrics."""
        self._telemetry.close()

    def _process_utterances(self, requests: list[Request]) -> list[Outputs | Exception]:
        results: list[Outputs | Exception] = []
        for request in requests:
            try:
                parameters = request.parameters(self._max_parameter_bytes)
                self._admission.admit(client_key(parameters), sequence_id=request.sequence_id)
                check_sample_rate(parameters, self._sample_rate)
                GateOptions.refuse(parameters, "is for streams; whole utterances have no gate")
                samples = request.array("AUDIO")
                check_checksum(parameters, samples)
                audio = check_audio(samples)
                if not 0 < len(audio) <= self._max_samples:
                    raise ValueError(
                        f"AUDIO has {len(audio)} samples; allowed: 1 to {self._max_samples} "
                        f"({self._max_samples / self._sample_rate:g} s); split longer audio at silence"
                    )
                if self._places is not None and not self._launcher.is_probe(request.sequence_id):
                    self._places.enter(request.identity)
                self._audio_secs.add(len(audio) / self._sample_rate)
                features = self._utterance(audio)
                results.append(_outputs(Window(features, len(features))))
            except ValueError as error:
                results.append(error)
        self._accepted.count(results, errors=False)
        return results

    def _configured_places(self, config: ModelConfig) -> UtterancePlaces | None:
        """Return the places of the pipeline; None where no launcher has staged a limit."""
        pipeline = config.optional_text("pipeline")
        if self._launcher.folder is None or pipeline is None:
            return None
        return UtterancePlaces(self._launcher.folder / pipeline, config.integer("max_concurrent_batches", 1))

    def _process_chunks(self, requests: list[Request]) -> list[Outputs | Exception]:
        for request in requests:
            if request.start or request.end:
                self._streams.arrived(request.sequence_id)
        results = process_sequences(self._sequences, requests, self._windows, self._admit)
        self._streams.refused(result for request, result in zip(requests, results, strict=True) if request.start)
        self._streams.live(len(self._sequences))
        return results

    def _admit(self, request: Request) -> None:
        """Raise ServerBusy when a stream may not start, ValueError when it does not say properly who starts it."""
        client = client_key(request.parameters(self._max_parameter_bytes))
        self._admission.admit(client, sequence_id=request.sequence_id)
        self._limits.check_client(client, request.sequence_id, self._sequences)

    def _windows(self, steps: list[Step[Stream[Any]]]) -> list[Outputs | Exception]:
        results: list[Outputs | Exception] = [_outputs(self._streaming.empty_window())] * len(steps)
        chunks: dict[int, Chunk[Any]] = {}
        overload = self._launcher.overload()
        for index, step in enumerate(steps):
            if step.releases:
                continue
            try:
                chunks[index] = self._check(step, overload)
            except ValueError as error:
                results[index] = error
            else:
                self._streams.accepted(step.sequence.id, len(chunks[index].audio))
        self._silence(steps, chunks)
        if chunks:
            for index, window in zip(chunks, self._streaming.windows(list(chunks.values())), strict=True):
                results[index] = _outputs(window)
        return results

    def _check(self, step: Step[Stream[Any]], overload: str | None) -> Chunk[Any]:
        """Return the audio of one request. Raises ValueError when it may not have that."""
        request, stream = step.request, step.sequence.state
        parameters = request.parameters(self._max_parameter_bytes)
        check_sample_rate(parameters, self._sample_rate)
        if request.start:
            stream.client = client_key(parameters)
            stream.gate = self._gate.requested(parameters)
        else:
            GateOptions.refuse(parameters, "comes too late; allowed only with START")
        samples = request.array("AUDIO")
        check_checksum(parameters, samples)
        audio = check_audio(samples)
        check_length(len(audio), self._chunk_samples, end=request.end)
        self._limits.receive(stream, len(audio), overload)
        if self._pacing is not None:
            self._pacing.received(stream, start=request.start, end=request.end)
        return Chunk(stream.features, audio, request.end)

    def _silence(self, steps: list[Step[Stream[Any]]], chunks: dict[int, Chunk[Any]]) -> None:
        """Pass the chunks of streams that have a gate through it, by index of the step; those it holds back go."""
        gates = {index: gate for index in chunks if (gate := steps[index].sequence.state.gate) is not None}
        if not gates:
            return
        gated = [chunks.pop(index) for index in gates]
        audio = self._gate.apply(list(gates.values()), [c.audio for c in gated], [c.end for c in gated])
        for index, chunk, piece in zip(gates, gated, audio, strict=True):
            if len(piece) or chunk.end:
                chunks[index] = replace(chunk, audio=piece)


def _outputs(window: Window) -> Outputs:
    """One request's outputs, batch dimension added, mel bands first as the encoder takes them."""
    return {"FEATURES": window.features.T[None], "FEATURES_LENGTH": np.array([[window.length]], np.int64)}
