"""The request loop of a Triton Python backend: one answer per request, an error for the one that caused it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from common.error_text import for_client
from common.sequences import SequenceId, ServerBusy
from common.telemetry import Telemetry

Outputs = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Request:
    """A Triton request in plain terms; `triton` is the original."""

    triton: Any
    sequence_id: SequenceId
    start: bool
    end: bool

    @property
    def identity(self) -> tuple[SequenceId, str]:
        """Correlation and request ID, as far as the client gave them."""
        return self.sequence_id, self.triton.request_id()

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return an input tensor as a NumPy array (batch dimension first)."""
        tensor = pb_utils.get_input_tensor_by_name(self.triton, name)
        if tensor is None:
            raise ValueError(f"input {name!r} is missing")
        array: npt.NDArray[Any] = tensor.as_numpy()
        return array

    def parameters(self, max_bytes: int | None = None) -> dict[str, str | int | bool]:
        """Return the request parameters set by the client. Raises ValueError when their JSON text is too long."""
        text: str = self.triton.parameters()
        if max_bytes is not None and len(text) > max_bytes:
            raise ValueError(
                f"request parameters have {len(text)} bytes; allowed: up to {max_bytes} (max_parameter_bytes)"
            )
        parameters: dict[str, str | int | bool] = json.loads(text) if text else {}
        return parameters


def read_request(triton_request: Any) -> Request:
    """Wrap a Triton request."""
    flags: int = triton_request.flags()
    return Request(
        triton=triton_request,
        sequence_id=triton_request.correlation_id(),
        start=bool(flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START),
        end=bool(flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END),
    )


def traced(requests: Sequence[Request]) -> Any:
    """Return Triton's trace of the first request that is traced, None where none is.

    A call that several requests share can belong to one trace only.
    """
    for request in requests:
        trace = request.triton.trace()
        if trace.get_context():
            return trace
    return None


def tensors(outputs: Outputs) -> list[Any]:
    """Make Triton tensors of named arrays."""
    return [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in outputs.items()]


def respond(
    triton_requests: list[Any], process: Callable[[list[Request]], list[Outputs | Exception]], telemetry: Telemetry
) -> list[Any]:
    """Run `process` over the requests of one `execute` call and answer each of them.

    `process` returns, in order, the outputs of each request or the exception that this request alone caused. An
    exception that escapes it is a defect of ours: it is logged and answers every request of the call.
    """
    began = time.perf_counter()
    requests = [read_request(request) for request in triton_requests]
    try:
        results = process(requests)
    except Exception as error:  # the server must go on, whatever a model did
        telemetry.log.exception("batch failed", extra={"requests": len(requests)})
        results = [error] * len(requests)
    responses = [_response(result) for result in results]
    telemetry.executed(requests, results, time.perf_counter() - began)
    return responses


def send(triton_requests: Sequence[Any], responses: Sequence[Any]) -> None:
    """Send the responses of one `execute` call, which then returns None for each, before it is over."""
    for request, response in zip(triton_requests, responses, strict=True):
        request.get_response_sender().send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _response(result: Outputs | Exception) -> Any:
    if isinstance(result, Exception):
        # ValueError is the caller's fault and already says what to do; anything else is named as what it is.
        if isinstance(result, ServerBusy):
            error = pb_utils.TritonError(for_client(str(result)), pb_utils.TritonError.UNAVAILABLE)
        elif isinstance(result, ValueError):
            error = pb_utils.TritonError(for_client(str(result)), pb_utils.TritonError.INVALID_ARG)
        else:
            text = for_client(f"{type(result).__name__}: {result}")
            error = pb_utils.TritonError(text, pb_utils.TritonError.INTERNAL)
        return pb_utils.InferenceResponse(output_tensors=[], error=error)
    return pb_utils.InferenceResponse(output_tensors=tensors(result))
