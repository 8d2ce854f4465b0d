"""Triton adapter of a graph. With a `state` section it keeps one cache slot per sequence, without it is stateless.

The section is the one that Triton's own ONNX Runtime and TensorRT backends read, so the CPU and GPU profiles share
one contract.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.input_checks import InputChecks
from common.isolation import together_or_alone
from common.launcher import Launcher
from common.metric_catalogue import CACHE_SLOTS, CACHE_SLOTS_USED
from common.parameters import ModelConfig
from common.sequence_requests import Step, process_sequences
from common.sequences import SequenceTable
from common.telemetry import Telemetry
from common.triton_adapter import Outputs, Request, respond
from onnx_sequence.caches import Array, parse_states
from onnx_sequence.opening import open_runner
from onnx_sequence.session import group_by_shape, split, spread, stack
from onnx_sequence.warm_up import warm_up

Inputs = dict[str, Array]


class TritonPythonModel:
    """Whatever inputs and outputs `config.pbtxt` names, of the graph in the version folder."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph, check that it has what the configuration promises, and run it once before anybody asks."""
        config = ModelConfig(args["model_config"])
        version_folder = Path(args["model_repository"]) / args["model_version"]
        states = parse_states(config.raw)
        self._runner = open_runner(config, version_folder, states)
        # Where streams may not share a run, they still come and go together, so that the steps around have batches.
        # Runs beside each other are on all cores.
        self._alone = config.boolean("streams_alone")
        self._per_run = 1 if self._alone else config.optional_integer("streams_per_run", 1)
        self._cores = len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._cores, "run") if self._per_run else None
        self._inputs = [item["name"] for item in config.raw["input"]]
        self._outputs = [item["name"] for item in config.raw["output"]]
        self._checks = InputChecks.configured(config)
        _check_names(
            config.model_name, "input", self._inputs + [s.input_name for s in states], self._runner.input_names
        )
        _check_names(
            config.model_name, "output", self._outputs + [s.output_name for s in states], self._runner.output_names
        )
        warm_up(self._runner, config)
        self._telemetry = Telemetry(config.model_name, batch_sizes=config.is_sequence_model)
        self._process = self._process_stateless
        if states:
            self._slots_total = self._telemetry.metrics.gauge(CACHE_SLOTS)
            self._slots_used = self._telemetry.metrics.gauge(CACHE_SLOTS_USED)
            self._sequences = SequenceTable(
                self._runner.acquire,
                self._runner.release,
                idle_secs=config.idle_secs,
                capacity=config.later_step_capacity,
                exempt_id=Launcher.find().probe_id,
            )
            self._process = self._process_sequences

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one batch."""
        return respond(requests, self._process, self._telemetry)

    def finalize(self) -> None:
        """Publish the last metrics."""
        self._telemetry.close()
        if self._pool is not None:
            self._pool.shutdown()

    def _process_stateless(self, requests: list[Request]) -> list[Outputs | Exception]:
        asked = set().union(*(request.triton.requested_output_names() for request in requests))
        wanted = [name for name in self._outputs if name in asked]

        def run(group: Sequence[tuple[int, Inputs]]) -> list[Outputs]:
            members = [inputs for _, inputs in group]
            return split(self._runner.run(stack(members), wanted), [_rows(member) for member in members])

        return self._run_groups([self._accept(request) for request in requests], run)

    def _process_sequences(self, requests: list[Request]) -> list[Outputs | Exception]:
        results = process_sequences(self._sequences, requests, self._advance)
        self._slots_total.set(self._runner.total)
        self._slots_used.set(self._runner.used)
        return results

    def _advance(self, steps: list[Step[int]]) -> list[Outputs | Exception]:
        def run(group: Sequence[tuple[int, Inputs]]) -> list[Outputs]:
            slots = [steps[index].sequence.state for index, _ in group]
            return self._step(stack([inputs for _, inputs in group]), slots)

        return self._run_groups([self._accept(step.request, releases=step.releases) for step in steps], run)

    def _accept(self, request: Request, *, releases: bool = False) -> Inputs | ValueError:
        """Return the inputs of a request, or what is wrong with them."""
        inputs = {name: request.array(name) for name in self._inputs}
        if releases:
            # Inputs of length zero add no frames.
            inputs = {name: np.zeros_like(array) for name, array in inputs.items()}
        try:
            self._checks.check(inputs)
        except ValueError as error:
            return error
        return inputs

    def _run_groups(
        self, accepted: list[Inputs | ValueError], run: Callable[[Sequence[tuple[int, Inputs]]], list[Outputs]]
    ) -> list[Outputs | Exception]:
        """Run the inputs that were accepted, those of one shape together. `run` gets them with their index."""
        results: list[Outputs | Exception] = [
            item if isinstance(item, ValueError) else RuntimeError("not processed") for item in accepted
        ]
        members = [(index, item) for index, item in enumerate(accepted) if not isinstance(item, ValueError)]
        groups = group_by_shape([inputs for _, inputs in members])
        if self._alone:
            groups = [[position] for position in range(len(members))]
        elif self._per_run:
            groups = [part for group in groups for part in spread(group, self._cores, self._per_run)]
        chosen = [[members[position] for position in group] for group in groups]
        run_all = map if self._pool is None or len(chosen) == 1 else self._pool.map
        for group, answers in zip(chosen, run_all(partial(together_or_alone, run), chosen), strict=True):
            for (index, _), result in zip(group, answers, strict=True):
                results[index] = result
        return results

    def _step(self, inputs: Inputs, slots: list[int]) -> list[Outputs]:
        """Run one step of several sequences and keep their next caches."""
        return split(self._runner.advance(inputs, slots, self._outputs), [1] * len(slots))


def _rows(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())))


def _check_names(model: str, kind: str, configured: list[str], graph: list[str]) -> None:
    """Raise ValueError when configuration and graph disagree."""
    if set(configured) != set(graph):
        raise ValueError(
            f"model {model!r}: config.pbtxt names the {kind}s {sorted(configured)}, the graph has {sorted(graph)}"
        )
