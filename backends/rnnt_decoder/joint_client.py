"""Calls the `decoder_joint` model inside the server (BLS). Legal only within `execute`."""

from __future__ import annotations

import numpy as np
import triton_python_backend_utils as pb_utils

from common.triton_adapter import tensors
from rnnt_decoder.greedy import Int32, JointOutput
from rnnt_decoder.hypothesis import Float32

_OUTPUTS = ["LABEL", "LABEL_LOG_PROB", "STATE_H_NEXT", "STATE_C_NEXT"]


class JointModel:
    """A `greedy.Joint` that asks another model of the same server."""

    def __init__(self, model_name: str) -> None:
        """Remember which model to ask."""
        self._model_name = model_name

    def __call__(self, encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32) -> JointOutput:
        """One BLS request with all rows in its batch dimension.

        Raises:
            RuntimeError: the model answered with an error; its text is kept.
        """
        inputs = {"ENCODED": encoded, "TARGET": targets, "STATE_H": state_h, "STATE_C": state_c}
        request = pb_utils.InferenceRequest(
            model_name=self._model_name, requested_output_names=_OUTPUTS, inputs=tensors(inputs)
        )
        response = request.exec()
        if response.has_error():
            raise RuntimeError(f"{self._model_name}: {response.error().message()}")
        labels, log_probs, next_h, next_c = (
            np.asarray(pb_utils.get_output_tensor_by_name(response, name).as_numpy()) for name in _OUTPUTS
        )
        return JointOutput(labels, log_probs, next_h, next_c)
