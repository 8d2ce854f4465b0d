"""One server that a client may talk to: a connection that is kept, how it has done lately, and whether it is back."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from circuitbreaker import CircuitBreaker
from grpc.aio import AioRpcError
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from amira_asr import protocol
from amira_asr.audio import Float32
from amira_asr.connection import connect
from amira_asr.errors import (
    AmiraError,
    ClientClosed,
    DeadlineExceeded,
    ServerFull,
    ServerStopping,
    ServerUnavailable,
)
from amira_asr.settings import Settings
from amira_asr.transport.placement import InMessage, Placed, Transport

_T = TypeVar("_T")
Circuit = Literal["closed", "open", "half-open"]

_PROBE_SECS = 2.0
# A full server is asked again after this; others are asked before.
_FULL_SECS = 1.0
# A server that is away is looked for again after this share of the time that it has been: who was away for a second is
# found a moment after it is back, and who is dead is left in peace.
_LOOK_SHARE, _LOOK_SECS = 0.2, 0.1
# Nobody may need it any more: it is looked for no longer than this after the last call that wanted it.
_LOOK_LONGEST_SECS = 60.0


@dataclass(frozen=True)
class EndpointState:
    """How an endpoint has done lately.

    Attributes:
        address: host:port.
        circuit: "closed" while it is used; "open" while it is left alone; "half-open" when one call may try it.
        failures: in a row.
        retry_after_secs: until it is half-open; 0 unless it is open.
        last_error: the latest of the failures; empty when there is none.
    """

    address: str
    circuit: Circuit
    failures: int
    retry_after_secs: float
    last_error: str

    def __str__(self) -> str:
        """Return it in words."""
        if self.circuit != "open":
            return f"circuit {self.circuit}"
        return f"circuit open after {self.failures} failures, tried again in {self.retry_after_secs:.0f} s"


class Endpoint:
    """One server: a connection that all calls share, and a circuit breaker."""

    def __init__(self, address: str, settings: Settings, back: Callable[[], None]) -> None:
        """Prepare; nothing is sent yet. Call it inside a running event loop.

        Args:
            address: host:port.
            settings: of the client.
            back: called when the server was away and answers again.
        """
        self.address = address
        self._back = back
        self.triton = connect(address, settings)
        self.last_used = 0
        self.wanted_at = 0.0  # when a call last looked for a server
        self._transport = _transport(settings, self.triton)
        self._recovery_secs = settings.circuit_breaker_recovery_secs
        self._breaker = CircuitBreaker(
            failure_threshold=settings.circuit_breaker_failures,
            recovery_timeout=settings.circuit_breaker_recovery_secs,
            expected_exception=(ServerUnavailable, DeadlineExceeded),
            name=address,
        )
        self._refused_until = self._failed_until = self._counted_at = 0.0
        self._probing: asyncio.Task[AmiraError | None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def state(self) -> EndpointState:
        """How it has done lately."""
        breaker = self._breaker
        circuit: Circuit = "half-open" if breaker.state == "half_open" else breaker.state
        wait = max(0.0, float(breaker.open_remaining)) if circuit == "open" else 0.0
        last = "" if breaker.last_failure is None else str(breaker.last_failure)
        return EndpointState(self.address, circuit, breaker.failure_count, wait, last)

    @property
    def failed_lately(self) -> bool:
        """Whether it did not answer a moment ago, and has not been heard of since."""
        return time.monotonic() < self._failed_until

    @property
    def avoided(self) -> bool:
        """Whether it failed or refused a moment ago, so that another one is better."""
        return self.failed_lately or time.monotonic() < self._refused_until

    async def call(self, call: Awaitable[_T], timeout_secs: float) -> _T:
        """Await one call to this server within a deadline. Raises AmiraError."""
        began = time.monotonic()
        try:
            answer = await asyncio.wait_for(call, timeout_secs)
        except InferenceServerException as error:
            raise self.failed(error, began) from error
        except asyncio.TimeoutError as error:
            raise self.too_late(timeout_secs) from error
        except asyncio.CancelledError:
            if self._closed:  # gRPC cancels the calls of a connection that is closed
                raise ClientClosed("this client is closed: make a new one") from None
            raise
        self.answered()
        return answer

    async def place(self, samples: Float32, timeout_secs: float) -> Placed:
        """Put [samples] where this server finds them. Raises AmiraError."""
        began = time.monotonic()
        try:
            return await asyncio.wait_for(self._transport.place(samples), timeout_secs)
        except InferenceServerException as error:
            raise self.failed(error, began) from error
        except asyncio.TimeoutError as error:
            raise self.too_late(timeout_secs) from error

    def answered(self) -> None:
        """Note that a call went well."""
        self._breaker.reset()

    def failed(self, broken: InferenceServerException | AioRpcError, since: float) -> AmiraError:
        """Note how a call failed that began, or was last answered, at `since`; return the error to raise."""
        return self._note(protocol.to_error(broken, self.address), since)

    def too_late(self, seconds: float) -> AmiraError:
        """Note that no answer came; return the error to raise."""
        return self._note(protocol.too_late(self.address, seconds))

    def hung_up(self, since: float) -> AmiraError:
        """Note that the server ended a stream that was last answered at `since`; return the error to raise."""
        return self._note(ServerUnavailable(f"{self.address} closed the stream"), since)

    async def probe(self) -> bool:
        """Ask whether the server is ready, within a short deadline. One that is may be used again."""
        began = time.monotonic()
        error = await self._ask()
        if error is None:
            self._reopen()
        else:
            self._note(error, began)
        return error is None

    async def close(self) -> None:
        """Close the connection. Calls on their way fail, and nobody looks for the server any more."""
        self._closed = True
        tasks = [task for task in (self._probing, self._looking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.close()
        await self.triton.close()

    async def _ask(self) -> AmiraError | None:
        """Return why the server is not ready, None when it is; several who want to know ask once."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.ensure_future(self._is_ready())
        return await asyncio.shield(self._probing)

    async def _is_ready(self) -> AmiraError | None:
        try:
            ready = await asyncio.wait_for(self.triton.is_server_ready(), _PROBE_SECS)
        except InferenceServerException as error:
            return protocol.to_error(error, self.address)
        except asyncio.TimeoutError:
            return protocol.too_late(self.address, _PROBE_SECS)
        return None if ready else ServerUnavailable(f"{self.address} is not ready")

    def _reopen(self) -> None:
        self.answered()
        self._failed_until = 0.0

    async def _look(self) -> None:
        """Look for a server that failed until it answers; the circuit is closed when it was away and is back.

        One that answers the first time was not away: it is slow, or what fails is not the connection, and the circuit
        breaker has its say. That counts the calls of users, not these.
        """
        began, away = time.monotonic(), False
        while (now := time.monotonic()) - self.wanted_at < _LOOK_LONGEST_SECS:
            pause = min(max(_LOOK_SHARE * (now - began), _LOOK_SECS), self._recovery_secs)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  so that clients do not come together
            if await self._ask() is None:
                if away:
                    self._reopen()
                    self._back()
                return
            away = True
            self._failed_until = time.monotonic() + self._recovery_secs

    def _note(self, error: AmiraError, since: float = math.inf) -> AmiraError:
        """Note a failure; return the error to raise.

        All calls of a connection fail together when it breaks. Those that began before the last failure that was
        counted are part of the same trouble, and not further failures in a row.
        """
        now = time.monotonic()
        if isinstance(error, ServerFull):
            self._refused_until = now + _FULL_SECS
        elif isinstance(error, ServerStopping):
            self._refused_until = now + self._recovery_secs
        elif isinstance(error, (ServerUnavailable, DeadlineExceeded)):
            self._failed_until = now + self._recovery_secs
            self._transport.forget()
            if since >= self._counted_at:
                self._counted_at = now
                with contextlib.suppress(type(error)), self._breaker:
                    raise error
            if not self._closed and (self._looking is None or self._looking.done()):
                self._looking = asyncio.ensure_future(self._look())
            if (state := self.state).circuit != "closed":
                return type(error)(f"{error}; {state}")
        else:  # it is alive, and said what is wrong
            self.answered()
        return error


def _transport(settings: Settings, triton: aio.InferenceServerClient) -> Transport:
    if settings.shared_memory == "off":
        return InMessage()
    from amira_asr.transport import regions, shared  # noqa: PLC0415  not on every system

    return shared.SharedAudio(
        triton, regions.SystemRegion if settings.shared_memory == "system" else regions.CudaRegion
    )
