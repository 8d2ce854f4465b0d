"""Calls the models `decoder_joint` and `decoder_greedy` inside the server (BLS). Legal only within `execute`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from common.triton_adapter import tensors
from rnnt_decoder.joint import RecordCall
from rnnt_decoder.joint_graphs import Arrays, JointGraphs


@dataclass
class Caller:
    """What all calls share.

    Attributes:
        record: told of the rows of each call, and its seconds.
        trace: Triton's trace of a request that the calls are made for; None to leave them out of all traces.
    """

    record: RecordCall | None = None
    trace: Any = None


@dataclass(frozen=True)
class ModelCall:
    """Runs a graph that is another model of the same server.

    Attributes:
        caller: shared by all.
        model_name: to ask.
        max_batch_size: rows it takes; more are asked for in parts.
    """

    caller: Caller
    model_name: str
    max_batch_size: int

    def __call__(self, names: list[str], inputs: Arrays) -> Arrays:
        """Ask for all rows. Raises RuntimeError with the model's error."""
        rows, size = len(inputs["TARGET"]), self.max_batch_size
        if rows <= size:
            return self._request(names, inputs)
        parts = [
            self._request(names, {name: array[first : first + size] for name, array in inputs.items()})
            for first in range(0, rows, size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def _request(self, names: list[str], inputs: Arrays) -> Arrays:
        began = time.perf_counter()
        trace = {} if self.caller.trace is None else {"trace": self.caller.trace}
        request = pb_utils.InferenceRequest(
            model_name=self.model_name, requested_output_names=names, inputs=tensors(inputs), **trace
        )
        response = request.exec()
        if self.caller.record is not None:
            self.caller.record(len(inputs["TARGET"]), time.perf_counter() - began)
        if response.has_error():
            raise RuntimeError(f"{self.model_name}: {response.error().message()}")
        return {name: np.asarray(pb_utils.get_output_tensor_by_name(response, name).as_numpy()) for name in names}


def joint_models(
    caller: Caller, joint: str, greedy: str | None, *, max_batch_size: int, durations: bool
) -> JointGraphs:
    """Return a `joint.Joint` of models; `greedy` is None where the server has no such model."""
    return JointGraphs(
        ModelCall(caller, joint, max_batch_size),
        ModelCall(caller, greedy, max_batch_size) if greedy is not None else None,
        durations=durations,
    )
