"""Calls the `decoder_joint` model inside the server (BLS). Legal only within `execute`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from common.triton_adapter import tensors
from rnnt_decoder.joint import Float32, Int32, JointDistributions, JointOutput, RecordCall

_STATE = ["STATE_H_NEXT", "STATE_C_NEXT"]


class JointModel:
    """A `joint.Joint` that asks another model of the same server.

    Attributes:
        trace: Triton's trace of a request that the calls are made for; None to leave them out of all traces.
    """

    def __init__(
        self,
        model_name: str,
        *,
        max_batch_size: int,
        durations: bool,
        record: RecordCall | None = None,
    ) -> None:
        """Prepare.

        Args:
            model_name: to ask.
            max_batch_size: rows it takes.
            durations: whether it predicts durations (TDT).
            record: told of the rows of each call, and its seconds.
        """
        self._model_name, self._max_batch_size, self._record = model_name, max_batch_size, record
        self.trace: Any = None
        self._extra = ["DURATION"] if durations else []

    def best(self, encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32) -> JointOutput:
        """Ask for all rows at once, as far as the model takes them. Raises RuntimeError with the model's error."""
        names = ["LABEL", "LABEL_LOG_PROB", "LABEL_CONFIDENCE", *_STATE]
        output = self._ask(names, encoded, targets, state_h, state_c)
        labels, log_probs, confidences, next_h, next_c = (output[name] for name in names)
        return JointOutput(labels, log_probs, confidences, output.get("DURATION"), next_h, next_c)

    def distributions(self, encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32) -> JointDistributions:
        """Ask for all rows at once, as far as the model takes them. Raises RuntimeError with the model's error."""
        output = self._ask(["LOG_PROBS", *_STATE], encoded, targets, state_h, state_c)
        next_h, next_c = (output[name] for name in _STATE)
        return JointDistributions(output["LOG_PROBS"], output.get("DURATION"), next_h, next_c)

    def _ask(
        self, names: list[str], encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32
    ) -> dict[str, npt.NDArray[Any]]:
        names = [*names, *self._extra]
        inputs = {"ENCODED": encoded, "TARGET": targets, "STATE_H": state_h, "STATE_C": state_c}
        size = self._max_batch_size
        if len(targets) <= size:
            return self._request(names, inputs)
        parts = [
            self._request(names, {name: array[first : first + size] for name, array in inputs.items()})
            for first in range(0, len(targets), size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def _request(self, names: list[str], inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        began = time.perf_counter()
        trace = {} if self.trace is None else {"trace": self.trace}
        request = pb_utils.InferenceRequest(
            model_name=self._model_name, requested_output_names=names, inputs=tensors(inputs), **trace
        )
        response = request.exec()
        if self._record is not None:
            self._record(len(inputs["TARGET"]), time.perf_counter() - began)
        if response.has_error():
            raise RuntimeError(f"{self._model_name}: {response.error().message()}")
        return {name: np.asarray(pb_utils.get_output_tensor_by_name(response, name).as_numpy()) for name in names}
