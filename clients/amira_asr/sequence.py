"""One sequence on the server, over a gRPC stream of its own, so that proxies keep it on one server."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from grpc.aio import AioRpcError
from tritonclient.utils import InferenceServerException

from amira_asr import protocol
from amira_asr.audio import Float32
from amira_asr.endpoint import Endpoint
from amira_asr.errors import AmiraError, ServerError
from amira_asr.events import Final, Partial, Transcript
from amira_asr.options import NO_OPTIONS, DecodingOptions
from amira_asr.timeline import follow
from amira_asr.transport.placement import Placed

# Hides the way to the server and back, without piling up work there.
_AHEAD = 8
_GOODBYE_SECS = 1.0


class ServerSequence:
    """Chunks in, one event for each of them out, in order. Nothing is sent before the first chunk."""

    def __init__(
        self,
        endpoint: Endpoint,
        form: protocol.ModelFormat,
        options: DecodingOptions = NO_OPTIONS,
        *,
        timeout_secs: float,
        headers: dict[str, str] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._timeout_secs = timeout_secs
        self._options = options
        self._finished: Transcript | None = None  # segments of this sequence that have ended
        self._format = form
        self.id = str(uuid.uuid4())  # never a counter: two clients would collide
        self._requests: asyncio.Queue[tuple[dict[str, Any], Float32] | None] = asyncio.Queue()
        self._placed: deque[Placed] = deque()  # audio of the chunks without a response
        self._unsendable: AmiraError | None = None
        self._responses = endpoint.triton.stream_infer(self._outgoing(), headers=headers)
        self._reading: asyncio.Task[Any] | None = None
        self._number = 0  # of the next chunk
        self._sent: deque[tuple[float, bool]] = deque()  # when the chunks without a response were sent; with END?
        self._reached_secs = 0.0  # what the latest response covers
        self._heard_at = time.monotonic()  # when the server last showed that it is there
        self._begun = self._ended = self._confirmed = self._broken = False

    @property
    def in_flight(self) -> int:
        """How many chunks have no response yet."""
        return len(self._sent)

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be sent: only one until the server has accepted the sequence, then a few ahead.

        None after END or a loss, while the caller makes ready to go on elsewhere.
        """
        if self._ended or self._broken:
            return False
        return len(self._sent) < (_AHEAD if self._confirmed else 1)

    def send(self, chunk: Float32, *, end: bool, finalize: bool = False) -> None:
        """Send a chunk, the last one with `end`; `finalize` ends the segment with it."""
        parameters = protocol.checksum(chunk)
        if not self._begun:
            parameters |= self._options.parameters()
        if finalize:
            parameters["finalize"] = True
        request = protocol.chunk_request(
            self._format.name,
            self.id,
            number=self._number,
            start=not self._begun,
            end=end,
            parameters=parameters,
        )
        self._begun, self._ended = True, end
        self._number += 1
        self._sent.append((time.perf_counter(), end))
        self._requests.put_nowait((request, chunk))

    async def receive(self) -> Partial | Final:
        """Wait for the next response; return all that has been recognised in the sequence. Raises AmiraError."""
        response = await self._response(self._timeout_secs)
        if response is None:
            raise self._endpoint.too_late(self._timeout_secs)
        return self._read(response)

    async def collect(self) -> Partial | Final | None:
        """End the sequence; return the latest that it still says, if anything.

        After an error it accepts only END, whose response has what was recognised before the error.
        """
        if not self._begun or self._broken:
            return None
        if not self._ended:
            self.send(np.zeros(0, np.float32), end=True)
        latest = None
        deadline = time.perf_counter() + _GOODBYE_SECS
        while self._sent and not self._broken:
            response = await self._response(max(0.0, deadline - time.perf_counter()))
            if response is None:
                break
            with contextlib.suppress(AmiraError):
                latest = self._read(response)
        self._broken = self._broken or bool(self._sent)  # what has not come by now is not waited for again
        return latest

    async def close(self) -> None:
        """Give the place on the server back, if the sequence still holds one, and hang up."""
        if not self._ended or self._sent:
            await self.collect()
        self._requests.put_nowait(None)
        await self._hang_up()
        self._responses.cancel()
        while self._placed:
            self._placed.popleft().free(answered=False)
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _hang_up(self) -> None:
        """Let the server end the gRPC stream: Triton 2.51 may crash when one is cancelled while it frees a request."""
        while not self._broken:
            self._reading = self._reading or asyncio.ensure_future(anext(self._responses))
            done, _ = await asyncio.wait({self._reading}, timeout=_GOODBYE_SECS)
            if not done or self._reading.cancelled() or self._reading.exception() is not None:
                return
            self._reading = None

    async def _response(self, timeout_secs: float) -> asyncio.Task[Any] | None:
        """Wait for the next response, or for what is wrong with the stream; None when nothing comes in time."""
        self._reading = reading = self._reading or asyncio.ensure_future(anext(self._responses))
        # Not wait_for: to cancel a read is to cancel the gRPC stream, and with it an END on its way.
        await asyncio.wait({reading}, timeout=timeout_secs)
        if not reading.done():
            return None
        self._reading = None
        return reading

    def _read(self, response: asyncio.Task[Any]) -> Partial | Final:
        """Return all that has been recognised in the sequence. Raises AmiraError."""
        try:
            result, error = response.result()
        except (StopAsyncIteration, asyncio.CancelledError) as closed:  # the reading was cancelled, not the caller
            self._broken = True
            raise self._unsendable or self._endpoint.hung_up(self._heard_at) from closed
        except (InferenceServerException, AioRpcError) as broken:
            self._broken = True
            raise self._endpoint.failed(broken, self._heard_at) from broken
        sent, end = self._sent.popleft()
        self._placed.popleft().free(answered=True)
        if error is not None:
            raise self._endpoint.failed(error, self._heard_at) from error
        self._heard_at = time.monotonic()
        self._confirmed = True
        self._endpoint.answered()
        event = protocol.read_transcript(result, self._format.frame_secs, (time.perf_counter() - sent) * 1e3)
        if isinstance(event, Final) is not end or event.audio_secs < self._reached_secs:
            raise ServerError("the answer does not fit what was sent: START or END was damaged on its way")
        self._reached_secs = event.audio_secs
        if self._finished is not None:
            event = follow(self._finished, event)
        if event.segments:
            self._finished = event
        return event

    async def _outgoing(self) -> AsyncIterator[dict[str, Any]]:
        while (waiting := await self._requests.get()) is not None:
            request, chunk = waiting
            try:
                placed = await self._endpoint.place(chunk, self._timeout_secs)
            except AmiraError as error:
                self._unsendable = error
                return
            self._placed.append(placed)
            yield {**request, "inputs": placed.inputs}
