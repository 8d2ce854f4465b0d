"""Calls without the client library: sequences that are never ended, refused, or cut off."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from dataclasses import dataclass, field

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from amira_asr.audio import Float32

MODEL = "asr_streaming"
_CALL_SECS = 0.5


def request(
    audio: Float32, sequence_id: str, *, start: bool = False, end: bool = False
) -> service_pb2.ModelInferRequest:
    """Return the request of one chunk, [samples] float32."""
    message = service_pb2.ModelInferRequest(model_name=MODEL)
    message.parameters["sequence_id"].string_param = sequence_id
    message.parameters["sequence_start"].bool_param = start
    message.parameters["sequence_end"].bool_param = end
    message.inputs.add(name="AUDIO", datatype="FP32", shape=[1, len(audio)])
    message.raw_input_contents.append(np.ascontiguousarray(audio, np.float32).tobytes())
    return message


@dataclass
class Refusals:
    """What callers saw who came too late.

    Attributes:
        refused: were told that the server is full.
        admitted: were let in.
        longest_secs: until the answer.
        others: other errors.
    """

    refused: int = 0
    admitted: int = 0
    longest_secs: float = 0.0
    others: list[str] = field(default_factory=list)


async def knock(endpoint: str, chunk: Float32, count: int) -> Refusals:
    """Send so many STARTs at once, and an END to each that is let in."""
    found = Refusals()

    async def one(stub: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
        sequence_id, began = str(uuid.uuid4()), time.monotonic()
        try:
            await stub.ModelInfer(request(chunk, sequence_id, start=True), timeout=30)
        except grpc.aio.AioRpcError as error:
            if "server full" in (error.details() or ""):
                found.refused += 1
            else:
                found.others.append(str(error.details()))
        else:
            found.admitted += 1
            await stub.ModelInfer(request(chunk[:0], sequence_id, end=True), timeout=30)
        found.longest_secs = max(found.longest_secs, time.monotonic() - began)

    async with grpc.aio.insecure_channel(endpoint) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        await asyncio.gather(*(one(stub) for _ in range(count)))
    return found


async def abandon(endpoint: str, chunk: Float32, count: int, *, at_once: int = 16, per_sec: float = 150.0) -> None:
    """Run sequences of one chunk; every second one is never ended."""
    room = asyncio.Semaphore(at_once)
    began = time.monotonic()

    async def one(stub: service_pb2_grpc.GRPCInferenceServiceStub, index: int) -> None:
        async with room:
            await asyncio.sleep(max(0.0, began + index / per_sec - time.monotonic()))
            sequence_id = str(uuid.uuid4())
            await stub.ModelInfer(request(chunk, sequence_id, start=True), timeout=30)
            if index % 2:
                await stub.ModelInfer(request(chunk[:0], sequence_id, end=True), timeout=30)

    async with grpc.aio.insecure_channel(endpoint) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        await asyncio.gather(*(one(stub, index) for index in range(count)))


async def cut_off(endpoint: str, chunk: Float32, seconds: float, *, at_once: int = 16, seed: int = 0) -> int:
    """Open gRPC streams and cancel them while requests are being answered, for so long; return how many.

    Each of the callers takes half a second, so that the sequences they leave behind are as many each time.
    """
    source = random.Random(seed)
    until, count = time.monotonic() + seconds, 0

    async def caller(stub: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
        nonlocal count
        while time.monotonic() < until:
            call, sequence_id, chunks = stub.ModelStreamInfer(), str(uuid.uuid4()), source.randint(1, 4)
            count, began = count + 1, time.monotonic()
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                for index in range(chunks):
                    await call.write(request(chunk, sequence_id, start=index == 0))
                for _ in range(source.randint(0, chunks)):
                    if await call.read() is grpc.aio.EOF:
                        break
            await asyncio.sleep(source.uniform(0, 0.01))
            call.cancel()
            await asyncio.sleep(max(0.0, began + _CALL_SECS - time.monotonic()))

    async with grpc.aio.insecure_channel(endpoint) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        await asyncio.gather(*(caller(stub) for _ in range(at_once)))
    return count
