"""The servers that a client may talk to: which of them are worth a try, and a connection to each that is kept."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Iterator
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
    CircuitOpen,
    ClientClosed,
    DeadlineExceeded,
    ServerFull,
    ServerStopping,
    ServerUnavailable,
)
from amira_asr.settings import Settings, parse_endpoints
from amira_asr.transport.placement import InMessage, Placed, Transport

_T = TypeVar("_T")
Circuit = Literal["closed", "open", "half-open"]

_PROBE_SECS = 2.0
# A full server is asked again after this; others are asked before.
_FULL_SECS = 1.0
_LARGEST_MESSAGE = 2**31 - 1
_KEEPALIVE_TIMEOUT_MS = 10_000
# gRPC's own waits between connection attempts begin at 1 s and end at 120 s: long for words that somebody waits for.
_RECONNECT_MS = (100, 2000)


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

    def __init__(self, address: str, settings: Settings) -> None:
        """Prepare; nothing is sent yet. Call it inside a running event loop."""
        self.address = address
        self.triton = connect(address, settings, channel_arguments(settings.keepalive_secs))
        self.last_used = 0
        self._transport = _transport(settings, self.triton)
        self._recovery_secs = settings.circuit_breaker_recovery_secs
        self._breaker = CircuitBreaker(
            failure_threshold=settings.circuit_breaker_failures,
            recovery_timeout=settings.circuit_breaker_recovery_secs,
            expected_exception=(ServerUnavailable, DeadlineExceeded),
            name=address,
        )
        self._refused_until = self._failed_until = 0.0
        self._probing: asyncio.Task[bool] | None = None

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
        try:
            answer = await asyncio.wait_for(call, timeout_secs)
        except InferenceServerException as error:
            raise self.failed(error) from error
        except asyncio.TimeoutError as error:
            raise self.too_late(timeout_secs) from error
        self.answered()
        return answer

    async def place(self, samples: Float32, timeout_secs: float) -> Placed:
        """Put [samples] where this server finds them. Raises AmiraError."""
        try:
            return await asyncio.wait_for(self._transport.place(samples), timeout_secs)
        except InferenceServerException as error:
            raise self.failed(error) from error
        except asyncio.TimeoutError as error:
            raise self.too_late(timeout_secs) from error

    def answered(self) -> None:
        """Note that a call went well."""
        self._breaker.reset()

    def failed(self, broken: InferenceServerException | AioRpcError) -> AmiraError:
        """Note how a call failed; return the error to raise."""
        return self._note(protocol.to_error(broken, self.address))

    def too_late(self, seconds: float) -> AmiraError:
        """Note that no answer came; return the error to raise."""
        return self._note(protocol.too_late(self.address, seconds))

    def hung_up(self) -> AmiraError:
        """Note that the server ended a stream; return the error to raise."""
        return self._note(ServerUnavailable(f"{self.address} closed the stream"))

    async def probe(self) -> bool:
        """Ask whether the server is ready, within a short deadline; several who want to know ask once."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.ensure_future(self._ask())
        return await asyncio.shield(self._probing)

    async def close(self) -> None:
        """Close the connection."""
        if self._probing is not None:
            self._probing.cancel()
        await self._transport.close()
        await self.triton.close()

    async def _ask(self) -> bool:
        try:
            ready = bool(await self.call(self.triton.is_server_ready(), _PROBE_SECS))
        except AmiraError:
            return False
        if ready:
            self._failed_until = 0.0
        return ready

    def _note(self, error: AmiraError) -> AmiraError:
        now = time.monotonic()
        if isinstance(error, ServerFull):
            self._refused_until = now + _FULL_SECS
        elif isinstance(error, ServerStopping):
            self._refused_until = now + self._recovery_secs
        elif isinstance(error, (ServerUnavailable, DeadlineExceeded)):
            self._failed_until = now + self._recovery_secs
            self._transport.forget()
            with contextlib.suppress(type(error)), self._breaker:
                raise error
            return type(error)(f"{error}; {self.state}")
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


class Endpoints:
    """All servers of a client."""

    def __init__(self, settings: Settings) -> None:
        """Prepare a connection to each; nothing is sent yet. Call it inside a running event loop."""
        self._all = [Endpoint(address, settings) for address in parse_endpoints(settings.triton_endpoint)]
        self._turns = itertools.count(1)
        self._closed = False

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._all)

    @property
    def states(self) -> tuple[EndpointState, ...]:
        """How each has done lately, in the order of the settings."""
        return tuple(endpoint.state for endpoint in self._all)

    @property
    def fresh(self) -> bool:
        """Whether some endpoint is worth a try at once."""
        return any(not endpoint.avoided and endpoint.state.circuit == "closed" for endpoint in self._all)

    async def choose(self, *, patient: bool = False) -> Endpoint:
        """Return the endpoint for the next call: by turns those whose circuit is closed, the ones that failed last.

        Endpoints whose circuit is half-open are probed: in the background while others serve, else at once.

        Args:
            patient: for a stream that has lost its server, and whose audio waits: where all failed lately, all are
                probed, open or not, and the first that answers is taken.

        Raises:
            CircuitOpen: there is none to try.
            ClientClosed: after `close`.
            ServerUnavailable: none of those that were probed is ready.
        """
        if self._closed:
            raise ClientClosed("this client is closed: make a new one")
        circuits = [(endpoint, endpoint.state.circuit) for endpoint in self._all]
        usable = [endpoint for endpoint, circuit in circuits if circuit == "closed"]
        probes = [asyncio.ensure_future(endpoint.probe()) for endpoint, circuit in circuits if circuit == "half-open"]
        if patient and all(endpoint.failed_lately for endpoint in usable):
            probes = [asyncio.ensure_future(endpoint.probe()) for endpoint in self._all]
            usable = []
        if not usable:
            if not probes:
                wait = min(endpoint.state.retry_after_secs for endpoint in self._all)
                raise CircuitOpen(f"no server is tried now: {self.describe()}", wait)
            for answer in asyncio.as_completed(probes):
                if await answer:
                    break
            usable = [e for e in self._all if e.state.circuit == "closed" and not (patient and e.failed_lately)]
        if not usable:
            raise ServerUnavailable(f"no server is ready: {self.describe()}")
        chosen = min(usable, key=lambda endpoint: (endpoint.avoided, endpoint.last_used))
        chosen.last_used = next(self._turns)
        return chosen

    async def any_ready(self) -> bool:
        """Whether some server is ready."""
        return any(await asyncio.gather(*(endpoint.probe() for endpoint in self._all)))

    def describe(self) -> str:
        """Return the states in words."""
        return "; ".join(f"{state.address} ({state}; {state.last_error})" for state in self.states)

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        await asyncio.gather(*(endpoint.close() for endpoint in self._all))


def channel_arguments(keepalive_secs: float) -> list[tuple[str, int]]:
    """Return gRPC's options of a connection.

    Pings keep it alive on its way: proxies and load balancers forget a quiet connection after a minute or more. A
    server hangs up on whoever pings too often or while there is no call, so there are none without a call, and
    `make serve` sets Triton's limit below the least `keepalive_secs`. The timeout is TCP's, too: a connection whose
    other end is gone breaks when what was sent is not acknowledged for so long.
    """
    first, longest = _RECONNECT_MS
    return [
        ("grpc.max_send_message_length", _LARGEST_MESSAGE),
        ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
        ("grpc.keepalive_time_ms", round(keepalive_secs * 1e3)),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", first),
        ("grpc.max_reconnect_backoff_ms", longest),
        ("grpc.dns_min_time_between_resolutions_ms", longest),
        # Two clients in one process share no connection, so that closing one, or its trouble, is its own.
        ("grpc.use_local_subchannel_pool", 1),
    ]
