"""A gRPC server that talks like Triton and fails on command. It hears one word per chunk: the chunk's level."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

CHUNK = 1600
CHUNK_SECS = 0.1
RATE = 16000

FULL = "server full: 4 of 4 streams are in use; try again later"
# Settings of a client that tests need not wait for.
FAST = {
    "inference_timeout_secs": 1.0,
    "resume_timeout_secs": 3.0,
    "circuit_breaker_failures": 2,
    "circuit_breaker_recovery_secs": 1.5,
}


def chunk(level):
    """A chunk that the fake recogniser hears as the word of that number."""
    return np.full(CHUNK, level / 1000, np.float32)


def words(*levels):
    """The text for chunks of these levels."""
    return " ".join(f"w{level}" for level in levels)


async def recognise(client, levels):
    """The events of a stream of such chunks."""
    return [event async for event in client.stream([chunk(level) for level in levels])]


@dataclass
class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Requests it got, and what it shall do to them. Sequences live in `heard`, as in the real server."""

    requests: list[tuple[str, int, bool, bool]] = field(default_factory=list)
    parameters: list[dict] = field(default_factory=list)  # of the requests, without those of the sequence
    heard: dict[str, list[int]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    streams_open: int = 0
    most_unanswered: int = 0
    refusing: str = ""  # what a START is told
    ready: bool = True
    probes: int = 0
    clients: list[str | None] = field(default_factory=list)  # client keys of streams and utterances
    running: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: frozen
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    forget_before: set[int] = field(default_factory=set)  # numbers of requests
    break_before: set[int] = field(default_factory=set)
    fail_at: dict[int, str] = field(default_factory=dict)
    chunk_samples: int = CHUNK
    on_utterance: Callable[[], object] | None = None  # called when one arrives

    def __post_init__(self):
        self.answering.set()
        self.running.set()

    @property
    def sequences(self):
        """IDs in the order of their START."""
        return [name for name, _, start, _ in self.requests if start]

    async def ServerReady(self, request, context):  # noqa: N802  gRPC's names
        self.probes += 1
        await self.running.wait()
        return service_pb2.ServerReadyResponse(ready=self.ready)

    async def ModelConfig(self, request, context):  # noqa: N802  gRPC's names
        await self.running.wait()
        config = model_config_pb2.ModelConfig(name=request.name)
        values = {"sample_rate": RATE, "chunk_samples": self.chunk_samples, "frame_secs": CHUNK_SECS}
        values["recognisers"] = "asr_batch,asr_streaming"
        if request.name == "asr_batch":
            values["max_audio_secs"] = 2
        if request.name != "encoder":
            for key, value in values.items():
                config.parameters[key].string_value = str(value)
        return service_pb2.ModelConfigResponse(config=config)

    async def ModelMetadata(self, request, context):  # noqa: N802  gRPC's names
        return service_pb2.ModelMetadataResponse(name=request.name, versions=["1"])

    async def ModelInfer(self, request, context):  # noqa: N802  gRPC's names
        self.clients.append(dict(context.invocation_metadata()).get("x-amira-client"))
        levels = [int(v) for v in np.round(audio_of(request)[::CHUNK] * 1000)]
        number = len(self.requests)
        self.requests.append((request.id, levels[0], True, True))
        self.parameters.append(own_parameters(request))
        await self.running.wait()
        if self.on_utterance is not None:
            self.on_utterance()
            await asyncio.sleep(1)
        if number in self.fail_at:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.fail_at[number])
        return respond([level for level in levels if level], final=True)

    async def ModelStreamInfer(self, request_iterator, context):  # noqa: N802  gRPC's names
        self.streams_open += 1
        self.clients.append(dict(context.invocation_metadata()).get("x-amira-client"))
        arrived: asyncio.Queue = asyncio.Queue()

        async def read():
            async for request in request_iterator:
                arrived.put_nowait(request)
                self.most_unanswered = max(self.most_unanswered, arrived.qsize())
            arrived.put_nowait(None)

        reading = asyncio.ensure_future(read())
        try:
            while (request := await arrived.get()) is not None:
                await self.answering.wait()
                await self.running.wait()
                number = len(self.requests)
                if number in self.break_before:
                    self.break_before.discard(number)
                    self.heard.clear()
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
                yield self.answer(request, number)
        finally:
            reading.cancel()
            self.streams_open -= 1

    def answer(self, request, number):
        """What the real server would say to a chunk."""
        name = request.parameters["sequence_id"].string_param
        start = request.parameters["sequence_start"].bool_param
        end = request.parameters["sequence_end"].bool_param
        audio = audio_of(request)
        level = int(np.round(audio[0] * 1000)) if len(audio) else 0
        self.requests.append((name, level, start, end))
        self.parameters.append(own_parameters(request))
        if number in self.forget_before:
            self.forget_before.discard(number)
            self.heard.clear()
        if start:
            if self.refusing:
                return refuse(self.refusing)
            self.heard[name] = []
        elif name not in self.heard:
            return refuse(f"sequence {name!r} is not live here: it never started; send START to begin anew")
        if number in self.fail_at:
            self.failed.add(name)
            return refuse(self.fail_at[number])
        if name in self.failed and not end:
            return refuse(f"sequence {name!r} failed earlier (bad); send END to collect what was recognised")
        if name not in self.failed:
            self.heard[name].append(level)
        answer = respond(self.heard[name], final=end)
        if end:
            del self.heard[name]
        return service_pb2.ModelStreamInferResponse(infer_response=answer)


def own_parameters(request):
    """Request parameters as the decoder would see them."""
    values = {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in request.parameters.items()}
    assert values.pop("audio_crc32") == zlib.crc32(audio_of(request))
    return {name: value for name, value in values.items() if not name.startswith("sequence_")}


def audio_of(request):
    return np.frombuffer(request.raw_input_contents[0], np.float32)


def refuse(message):
    return service_pb2.ModelStreamInferResponse(error_message=f"in ensemble 'asr_streaming', {message}")


def strings(values):
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in values)


def respond(levels, *, final):
    """The outputs for chunks heard so far; level 0 is silence."""
    spoken = [(index, level) for index, level in enumerate(levels) if level]
    outputs = {
        "IS_FINAL": ("BOOL", [1, 1], np.array([final]).tobytes()),
        "TOKENS": ("INT32", [1, len(spoken)], np.array([level for _, level in spoken], np.int32).tobytes()),
        "TOKEN_TEXTS": ("BYTES", [1, len(spoken)], strings([f"▁w{level}" for _, level in spoken])),
        "TOKEN_TIMES": ("FP32", [1, len(spoken)], np.array([i * CHUNK_SECS for i, _ in spoken], np.float32).tobytes()),
        "TOKEN_CONFIDENCES": ("FP32", [1, len(spoken)], np.ones(len(spoken), np.float32).tobytes()),
        "STABLE_TOKENS": ("INT32", [1, 1], np.array([len(spoken)], np.int32).tobytes()),
        "SEGMENT_ENDS": ("INT32", [1, int(final)], np.array([len(spoken)] * final, np.int32).tobytes()),
        "ENDPOINTS": ("BYTES", [1, int(final)], strings(["end"] * final)),
        "N_BEST": ("BYTES", [1, 1], strings([words(*(level for _, level in spoken))])),
        "N_BEST_SCORES": ("FP32", [1, 1], np.zeros(1, np.float32).tobytes()),
        "AUDIO_PROCESSED": ("FP32", [1, 1], np.array([len(levels) * CHUNK_SECS], np.float32).tobytes()),
    }
    response = service_pb2.ModelInferResponse(model_name="asr_streaming", model_version="1")
    for name, (datatype, shape, raw) in outputs.items():
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        response.raw_output_contents.append(raw)
    return response


@asynccontextmanager
async def serving(triton: FakeTriton, endpoint: str = "127.0.0.1:0") -> AsyncIterator[str]:
    """Serve at an endpoint, port 0 for a free one; yield host:port."""
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
    port = server.add_insecure_port(endpoint)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
