"""Requests as bytes on the wire: whatever a client can write into a message of Triton's protocol."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from tests.server.streams import CHUNK

# A client waits this long for the answer to one request, seconds; then the server hangs.
DEADLINE_SECS = 20.0
N_MELS, ENCODER_DIM, STATE = 80, 144, (1, 192)
WINDOW_FRAMES = 65

DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32, "UINT8": np.uint8}

ValueType = str | int | float | bool


@dataclass(frozen=True)
class Tensor:
    """An input as it is written. `data` need not be what `dtype` and `shape` say."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @staticmethod
    def of(name: str, array: np.ndarray, dtype: str = "FP32") -> Tensor:
        """Return an honest tensor."""
        return Tensor(name, dtype, array.shape, np.ascontiguousarray(array, DTYPES[dtype]).tobytes())


@dataclass(frozen=True)
class Call:
    """One request."""

    model: str
    inputs: tuple[Tensor, ...]
    sequence_id: ValueType | None = None
    start: bool = False
    end: bool = False
    parameters: tuple[tuple[str, ValueType], ...] = ()
    outputs: tuple[str, ...] = ()
    version: str = ""
    extra_data: tuple[bytes, ...] = ()

    def message(self) -> pb.ModelInferRequest:
        """Return the gRPC message."""
        request = pb.ModelInferRequest(model_name=self.model, model_version=self.version)
        for tensor in self.inputs:
            request.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=tensor.shape)
            request.raw_input_contents.append(tensor.data)
        request.raw_input_contents.extend(self.extra_data)
        for name in self.outputs:
            request.outputs.add(name=name)
        controls: list[tuple[str, ValueType]] = []
        if self.sequence_id is not None:
            controls.append(("sequence_id", self.sequence_id))
        controls += [(name, True) for name, on in (("sequence_start", self.start), ("sequence_end", self.end)) if on]
        for name, value in (*self.parameters, *controls):
            parameter = request.parameters[name]
            if isinstance(value, bool):
                parameter.bool_param = value
            elif isinstance(value, int):
                parameter.int64_param = value
            elif isinstance(value, float):
                parameter.double_param = value
            else:
                parameter.string_param = value
        return request


@dataclass(frozen=True)
class Answer:
    """What came back: outputs, or the status and text of an error."""

    status: str
    text: str = ""
    outputs: dict[str, np.ndarray | list[bytes]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status == "OK"

    @property
    def tokens(self) -> list[int]:
        return self.outputs["TOKENS"].tolist()


class Wire:
    """A connection to Triton that says nothing about what is sent through it."""

    def __init__(self, endpoint: str) -> None:
        unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        # A connection of its own: channels to the same address share one otherwise.
        self._channel = grpc.insecure_channel(endpoint, [*unlimited, ("grpc.use_local_subchannel_pool", 1)])
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def send(self, call: Call, timeout: float = DEADLINE_SECS) -> Answer:
        """Send one request and wait for its answer."""
        try:
            response = self._stub.ModelInfer(call.message(), timeout=timeout)
        except grpc.RpcError as error:
            return Answer(error.code().name, error.details())
        return Answer("OK", outputs=_outputs(response))

    def ready(self) -> bool:
        """Whether every model is ready."""
        return self._stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready

    def close(self) -> None:
        self._channel.close()


def _outputs(response: pb.ModelInferResponse) -> dict[str, np.ndarray | list[bytes]]:
    outputs: dict[str, np.ndarray | list[bytes]] = {}
    for tensor, data in zip(response.outputs, response.raw_output_contents, strict=True):
        if tensor.datatype in DTYPES:
            outputs[tensor.name] = np.frombuffer(data, DTYPES[tensor.datatype])
    return outputs


def audio(samples: np.ndarray) -> tuple[Tensor, ...]:
    """The AUDIO input of one request."""
    return (Tensor.of("AUDIO", np.asarray(samples, np.float32)[None]),)


def chunk(sequence_id: ValueType | None, samples: np.ndarray, *, start=False, end=False, **parameters) -> Call:
    """A request of `asr_streaming`."""
    return Call("asr_streaming", audio(samples), sequence_id, start, end, tuple(parameters.items()))


def _features(frames: int) -> tuple[Tensor, ...]:
    return (
        Tensor.of("FEATURES", np.zeros((1, N_MELS, frames))),
        Tensor.of("FEATURES_LENGTH", np.array([[frames]]), "INT64"),
    )


def _encoded(frames: int) -> tuple[Tensor, ...]:
    return (
        Tensor.of("ENCODED", np.zeros((1, frames, ENCODER_DIM))),
        Tensor.of("ENCODED_LENGTH", np.array([[frames]]), "INT64"),
    )


SEQUENCE_MODELS = ("asr_streaming", "preprocessor", "encoder", "decoder")


def honest_calls(sequence_id: str) -> dict[str, Call]:
    """A request of every model that a client can reach, as the model wants it."""
    inputs = {
        "asr_streaming": audio(np.zeros(CHUNK)),
        "asr_batch": audio(np.zeros(5000)),
        "vad": audio(np.zeros(5000)),
        "preprocessor": audio(np.zeros(CHUNK)),
        "preprocessor_batch": audio(np.zeros(5000)),
        "encoder": _features(WINDOW_FRAMES),
        "encoder_batch": _features(100),
        "decoder": _encoded(7),
        "decoder_batch": _encoded(7),
        "decoder_joint": (
            Tensor.of("ENCODED", np.zeros((1, 7, ENCODER_DIM))),
            Tensor.of("TARGET", np.array([[128]]), "INT32"),
            Tensor.of("STATE_H", np.zeros((1, *STATE))),
            Tensor.of("STATE_C", np.zeros((1, *STATE))),
        ),
        "decoder_greedy": (
            *_encoded(7),
            Tensor.of("MAX_SYMBOLS", np.array([[10]]), "INT32"),
            Tensor.of("TARGET", np.array([[128]]), "INT32"),
            Tensor.of("STATE_H", np.zeros((1, *STATE))),
            Tensor.of("STATE_C", np.zeros((1, *STATE))),
        ),
    }
    return {
        model: Call(model, tensors, sequence_id, start=True, end=True)
        if model in SEQUENCE_MODELS
        else Call(model, tensors)
        for model, tensors in inputs.items()
    }
