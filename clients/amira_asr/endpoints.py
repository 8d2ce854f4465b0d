"""The servers that a client may talk to, and which of them is worth a try."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterator

from amira_asr.endpoint import Endpoint, EndpointState
from amira_asr.errors import CircuitOpen, ClientClosed, ServerUnavailable
from amira_asr.setting_values import parse_endpoints
from amira_asr.settings import Settings


class Endpoints:
    """All servers of a client."""

    def __init__(self, settings: Settings) -> None:
        """Prepare a connection to each; nothing is sent yet. Call it inside a running event loop."""
        addresses = parse_endpoints(settings.triton_endpoint)
        self._all = [Endpoint(address, settings, self._one_is_back) for address in addresses]
        self._back = asyncio.Event()
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
        for endpoint in self._all:
            endpoint.wanted_at = time.monotonic()
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

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until a server that was away is back."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._back.wait(), seconds)

    def _one_is_back(self) -> None:
        self._back.set()
        self._back = asyncio.Event()

    def describe(self) -> str:
        """Return the states in words."""
        return "; ".join(f"{state.address} ({state}; {state.last_error})" for state in self.states)

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        await asyncio.gather(*(endpoint.close() for endpoint in self._all))
