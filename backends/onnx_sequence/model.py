"""Triton adapter of ONNX Runtime. With a `state` section it keeps one cache slot per sequence, without it is stateless.

The section is the one that Triton's own ONNX Runtime and TensorRT backends read, so the CPU and GPU profiles share
one contract.
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
from onnx_sequence.caches import Array, CacheSlots, parse_states
from onnx_sequence.session import OnnxSession, group_by_shape, split, stack


class TritonPythonModel:
    """Whatever inputs and outputs `config.pbtxt` names, of `model.onnx`."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph and check that it has what the configuration promises."""
        config = ModelConfig(args["model_config"])
        version_folder = Path(args["model_repository"]) / args["model_version"]
        self._session = OnnxSession(
            version_folder / "model.onnx",
            intra_op_threads=config.integer("intra_op_threads", 1),
            allow_spinning=config.text("allow_spinning", ("0", "1")) == "1",
        )
        self._inputs = [item["name"] for item in config.raw["input"]]
        self._outputs = [item["name"] for item in config.raw["output"]]
        states = parse_states(config.raw)
        self._state_outputs = [state.output_name for state in states]
        _check_names(
            config.model_name,
            "input",
            self._inputs + [s.input_name for s in states],
            self._session.input_names,
        )
        _check_names(config.model_name, "output", self._outputs + self._state_outputs, self._session.output_names)
        self._process = self._process_stateless
        if states:
            self._slots = CacheSlots(states)
            self._sequences = SequenceTable(self._slots.acquire, self._slots.release, idle_secs=config.idle_secs)
            self._process = self._process_sequences

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one batch."""
        return respond(requests, self._process)

    def _process_stateless(self, requests: list[Request]) -> list[Outputs | Exception]:
        inputs = [{name: request.array(name) for name in self._inputs} for request in requests]
        wanted = [name for name in self._outputs if any(name in r.triton.requested_output_names() for r in requests)]
        results: list[Outputs | Exception] = [RuntimeError("not processed")] * len(requests)
        for group in group_by_shape(inputs):
            try:
                members = [inputs[index] for index in group]
                outputs = self._session.run(stack(members), wanted)
                parts: list[Outputs | Exception] = list(split(outputs, [_rows(member) for member in members]))
            except Exception as error:  # ONNX Runtime raises its own types; only this group is lost
                parts = [error] * len(group)
            for index, part in zip(group, parts, strict=True):
                results[index] = part
        return results

    def _process_sequences(self, requests: list[Request]) -> list[Outputs | Exception]:
        return process_sequences(self._sequences, requests, self._advance)

    def _advance(self, steps: list[Step[int]]) -> list[Outputs | Exception]:
        inputs = [{name: step.request.array(name) for name in self._inputs} for step in steps]
        for index, step in enumerate(steps):
            if step.releases:
                # Inputs of length zero add no frames.
                inputs[index] = {name: np.zeros_like(array) for name, array in inputs[index].items()}
        results: list[Outputs | Exception] = [RuntimeError("not processed")] * len(steps)
        for group in group_by_shape(inputs):
            try:
                slots = [steps[index].sequence.state for index in group]
                parts = self._step(stack([inputs[index] for index in group]), slots)
            except Exception as error:  # as above; the caches of these sequences are unchanged
                parts = [error] * len(group)
            for index, part in zip(group, parts, strict=True):
                results[index] = part
        return results

    def _step(self, inputs: dict[str, Array], slots: list[int]) -> list[Outputs | Exception]:
        """Run one step of several sequences and keep their next caches."""
        outputs = self._session.run({**inputs, **self._slots.gather(slots)}, self._outputs + self._state_outputs)
        self._slots.scatter(slots, outputs)
        return list(split({name: outputs[name] for name in self._outputs}, [1] * len(slots)))


def _rows(inputs: dict[str, Array]) -> int:
    return len(next(iter(inputs.values())))


def _check_names(model: str, kind: str, configured: list[str], graph: list[str]) -> None:
    """Raise ValueError when configuration and graph disagree."""
    if set(configured) != set(graph):
        raise ValueError(
            f"model {model!r}: config.pbtxt names the {kind}s {sorted(configured)}, model.onnx has {sorted(graph)}"
        )
