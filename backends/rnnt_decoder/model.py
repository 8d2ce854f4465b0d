"""Triton adapter of the RNN-T decoder.

With `sequence_batching` it keeps one stream per sequence; without it every request is a whole utterance.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common.input_checks import InputChecks
from common.launcher import Launcher
from common.metric_catalogue import UTTERANCES_ANSWERED
from common.parameters import ModelConfig
from common.sequence_requests import Step, process_sequences
from common.sequences import SequenceTable
from common.telemetry import Telemetry
from common.triton_adapter import Outputs, Request, respond, traced
from common.utterance_metrics import UtteranceMetrics
from common.utterance_places import AnsweredUtterances
from rnnt_decoder.decoder import Chunk, Decoder
from rnnt_decoder.decoding_telemetry import DecodingTelemetry, StreamLatency, settled_labels
from rnnt_decoder.joint_client import Caller, joint_models
from rnnt_decoder.joint_graphs import JointGraphs
from rnnt_decoder.local_joint import local_joint
from rnnt_decoder.stream import Stream


class TritonPythonModel:
    """ENCODED, ENCODED_LENGTH -> the transcript outputs."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration, the vocabulary and what else the decoder needs."""
        config = ModelConfig(args["model_config"])
        self._decoder = Decoder.configured(config, Path(args["model_repository"]) / args["model_version"])
        self._checks = InputChecks.configured(config)
        self._telemetry = Telemetry(config.model_name, batch_sizes=config.is_sequence_model)
        metrics = self._telemetry.metrics
        self._decoding = DecodingTelemetry(metrics)
        repository = Path(args["model_repository"]).parent
        self._caller = Caller(self._decoding.asked_joint)
        self._joint = _joint(config, repository, self._caller, durations=self._decoder.has_durations)
        if config.is_sequence_model:
            self._latency = StreamLatency(metrics)
            self._sequences = SequenceTable(
                self._decoder.new_stream,
                idle_secs=config.idle_secs,
                capacity=config.later_step_capacity,
                exempt_id=Launcher.find().probe_id,
                observer=self._latency,
            )
            self._process = self._process_chunks
        else:
            self._answered = UtteranceMetrics(metrics, UTTERANCES_ANSWERED)
            self._launcher = Launcher.find()
            pipeline = config.optional_text("pipeline")
            folder = self._launcher.folder
            self._places: AnsweredUtterances | None = None
            if folder is not None and pipeline is not None:
                self._places = AnsweredUtterances(folder / pipeline)
            self._process = self._process_utterances

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one batch."""
        return respond(requests, self._process, self._telemetry)

    def finalize(self) -> None:
        """Publish the last metrics."""
        self._telemetry.close()

    def _process_utterances(self, requests: list[Request]) -> list[Outputs | Exception]:
        results = self._answer([(request, self._decoder.new_stream(), True, True) for request in requests])
        self._answered.count(results, errors=True)
        if self._places is not None:
            self._places.add(one.identity for one in requests if not self._launcher.is_probe(one.sequence_id))
        return results

    def _process_chunks(self, requests: list[Request]) -> list[Outputs | Exception]:
        results = process_sequences(self._sequences, requests, self._extend)
        for request, result in zip(requests, results, strict=True):
            if not isinstance(result, Exception):
                self._latency.answered(request.sequence_id, result, end=request.end)
        return results

    def _extend(self, steps: list[Step[Stream]]) -> list[Outputs | Exception]:
        healthy = [step for step in steps if not step.releases]
        answers = iter(
            self._answer(
                [(step.request, step.sequence.state, step.request.start, step.request.end) for step in healthy]
            )
        )
        return [
            self._decoder.result(step.sequence.state, end=step.request.end) if step.releases else next(answers)
            for step in steps
        ]

    def _answer(self, work: list[tuple[Request, Stream, bool, bool]]) -> list[Outputs | Exception]:
        """Decode requests of streams together: (request, stream, whether it starts, whether it ends)."""
        results: dict[int, Outputs | Exception] = {}
        chunks: dict[int, Chunk] = {}
        for index, (request, stream, start, end) in enumerate(work):
            try:
                chunks[index] = self._chunk(request, stream, start=start, end=end)
            except ValueError as error:
                results[index] = error
        streams, ends = [chunk.stream for chunk in chunks.values()], [chunk.end for chunk in chunks.values()]
        before = settled_labels(streams, [False] * len(streams))
        failures: dict[int, Exception] = {}
        requests = {id(chunk): work[index][0] for index, chunk in chunks.items()}
        for group in self._decoder.groups(list(chunks.values()), self._joint):
            self._caller.trace = traced([requests[id(chunk)] for chunk in group])
            try:
                self._decoder.decode(group, self._joint)
            except Exception as error:  # above all of the joint: no chunk of the group could be decoded
                failures |= dict.fromkeys((id(chunk) for chunk in group), error)
        self._decoding.decoded(max(0, settled_labels(streams, ends) - before))
        for index, chunk in chunks.items():
            result = results[index] = failures.get(id(chunk)) or self._decoder.result(chunk.stream, end=chunk.end)
            if not isinstance(result, Exception):
                self._decoding.answered(result)
        return [results[index] for index in range(len(work))]

    def _chunk(self, request: Request, stream: Stream, *, start: bool, end: bool) -> Chunk:
        """Return the work of one request. Raises ValueError."""
        finalize = self._decoder.prepare(stream, request.parameters(), start=start)
        inputs = {name: request.array(name) for name in ("ENCODED", "ENCODED_LENGTH")}
        self._checks.check(inputs)
        if len(inputs["ENCODED"]) != 1:
            raise ValueError(f"ENCODED has {len(inputs['ENCODED'])} rows; allowed: 1, one stream per request")
        return Chunk(stream, inputs["ENCODED"][0][: int(inputs["ENCODED_LENGTH"][0, 0])], finalize, end)


def _joint(config: ModelConfig, repository: Path, caller: Caller, *, durations: bool) -> JointGraphs:
    """Return what evaluates the joint: its graphs in this process, or the models of the server. Raises ValueError."""
    model, greedy = config.text("decoder_joint_model"), config.optional_text("decoder_greedy_model")
    if config.text("joint", ("local", "model")) == "local":
        graph = None if greedy is None else repository / greedy / "1" / "model.onnx"
        return local_joint(repository / model / "1" / "model.onnx", graph, caller.record)
    rows, most = config.raw["max_batch_size"], config.integer("joint_max_batch_size", 1)
    if greedy is not None and rows > most:
        raise ValueError(f"joint_max_batch_size is {most}; allowed: max_batch_size ({rows}) or more")
    return joint_models(caller, model, greedy, max_batch_size=most, durations=durations)
