"""Triton adapter of the RNN-T decoder.

With `sequence_batching` it keeps one hypothesis per sequence; without it every request is a whole utterance.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.parameters import ModelConfig
from common.sequence_requests import Step, process_sequences
from common.sequences import SequenceTable
from common.triton_adapter import Outputs, Request, respond
from rnnt_decoder.greedy import GreedySearch
from rnnt_decoder.hypothesis import Hypothesis, PredictionShape
from rnnt_decoder.joint_client import JointModel
from rnnt_decoder.transcript import transcript
from rnnt_decoder.vocabulary import Vocabulary


class TritonPythonModel:
    """ENCODED, ENCODED_LENGTH -> the transcript outputs."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration and the vocabulary."""
        config = ModelConfig(args["model_config"])
        self._shape = PredictionShape.configured(config)
        self._search = GreedySearch.configured(config)
        self._joint = JointModel(config.text("decoder_joint_model"))
        self._frame_secs = config.number("frame_secs")
        self._max_total_tokens = config.integer("max_total_tokens", 1)
        version_folder = Path(args["model_repository"]) / args["model_version"]
        self._vocabulary = Vocabulary.load(
            version_folder / config.text("vocabulary"), expected_size=self._shape.blank_id
        )
        self._process = self._process_utterances
        if config.is_sequence_model:
            self._sequences = SequenceTable(self._shape.new_hypothesis, idle_secs=config.idle_secs)
            self._process = self._process_chunks

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one batch."""
        return respond(requests, self._process)

    def _process_utterances(self, requests: list[Request]) -> list[Outputs | Exception]:
        hypotheses = [self._shape.new_hypothesis() for _ in requests]
        self._decode(requests, hypotheses)
        return [self._result(hypothesis, is_final=True) for hypothesis in hypotheses]

    def _process_chunks(self, requests: list[Request]) -> list[Outputs | Exception]:
        return process_sequences(self._sequences, requests, self._extend)

    def _extend(self, steps: list[Step[Hypothesis]]) -> list[Outputs | Exception]:
        healthy = [step for step in steps if not step.releases]
        failure: RuntimeError | None = None
        try:
            self._decode([step.request for step in healthy], [step.sequence.state for step in healthy])
        except RuntimeError as error:
            failure = error
        return [
            failure
            if failure is not None and not step.releases
            else self._result(step.sequence.state, is_final=step.request.end)
            for step in steps
        ]

    def _decode(self, requests: list[Request], hypotheses: list[Hypothesis]) -> None:
        """Search the frames of several requests together, shorter ones padded."""
        if not requests:
            return
        rows = [request.array("ENCODED")[0] for request in requests]
        lengths = np.array([request.array("ENCODED_LENGTH")[0, 0] for request in requests], np.int64)
        encoded = np.zeros((len(rows), max(len(row) for row in rows), rows[0].shape[1]), np.float32)
        for padded, row in zip(encoded, rows, strict=True):
            padded[: len(row)] = row
        self._search(encoded, lengths, hypotheses, self._joint)

    def _result(self, hypothesis: Hypothesis, *, is_final: bool) -> Outputs | Exception:
        if len(hypothesis.tokens) > self._max_total_tokens and not is_final:
            return ValueError(
                f"the stream has {len(hypothesis.tokens)} tokens; max_total_tokens allows {self._max_total_tokens}: "
                "send END to collect them and START a new sequence"
            )
        return transcript(hypothesis, self._vocabulary, frame_secs=self._frame_secs, is_final=is_final)
