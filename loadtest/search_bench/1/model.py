"""Measures the searches with the joint as the decoder has it: another model of the server."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

# The bench starts the server and says where the project is.
sys.path[:0] = [os.environ["AMIRA_BENCH_ROOT"], str(Path(os.environ["AMIRA_BENCH_ROOT"]) / "backends")]

import numpy as np
import triton_python_backend_utils as pb_utils

from loadtest.raw_pipeline import read_config
from loadtest.searches import Search, measure
from rnnt_decoder.joint_client import Caller, joint_models


class TritonPythonModel:
    """ENCODED [chunks, streams, frames, dim], LENGTHS, SEARCHES, ROUNDS -> TIMES as JSON."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read which joint the decoder asks."""
        config = read_config(Path(args["model_repository"]).parent / "decoder")
        self._joint = joint_models(
            Caller(),
            config.text("decoder_joint_model"),
            config.optional_text("decoder_greedy_model"),
            max_batch_size=config.integer("joint_max_batch_size", 1),
            durations=False,
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Measure; wall time, since the joint runs in another process."""
        return [self._measure(request) for request in requests]

    def _measure(self, request: Any) -> Any:
        names = ("ENCODED", "LENGTHS", "SEARCHES", "ROUNDS")
        encoded, lengths, asked, rounds = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in names
        )
        pieces = [
            [frames[:length] for frames, length in zip(*chunk, strict=True)]
            for chunk in zip(encoded, lengths, strict=True)
        ]
        searches = {name: Search(**search) for name, search in json.loads(asked[0]).items()}
        times = measure(self._joint, pieces, searches, rounds=int(rounds[0]), clock=time.perf_counter)
        text = json.dumps([asdict(item) for item in times]).encode()
        return pb_utils.InferenceResponse([pb_utils.Tensor("TIMES", np.array([text], np.object_))])
