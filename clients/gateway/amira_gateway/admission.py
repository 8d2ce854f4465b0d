"""How much is going on, how much may, and whether the gateway is about to stop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from amira_gateway.refusals import Refusal


class Admission:
    """Counts live streams and recordings being worked on; refuses what is too much, or new while stopping.

    Attributes:
        draining: nothing new is accepted.
        finish: streams shall end now, with what they have heard.
    """

    def __init__(self, max_streams: int, max_requests: int) -> None:
        self.limits = {"stream": max_streams, "request": max_requests}
        self.active: Counter[str] = Counter()
        self.streams_by_model: Counter[str] = Counter()
        self.draining = False
        self.finish = asyncio.Event()

    @contextmanager
    def stream(self, model: str) -> Iterator[None]:
        """Hold the place of one stream. Raises Refusal when there is none."""
        with self._place("stream", "gateway_max_streams"):
            self.streams_by_model[model] += 1
            try:
                yield
            finally:
                self.streams_by_model[model] -= 1

    @contextmanager
    def request(self) -> Iterator[None]:
        """Hold the place of one recording. Raises Refusal when there is none."""
        with self._place("request", "gateway_max_requests"):
            yield

    @contextmanager
    def _place(self, kind: str, setting: str) -> Iterator[None]:
        limit = self.limits[kind]
        if self.draining:
            raise Refusal(503, "stopping", "the gateway is stopping: ask another one", retry_after_secs=5)
        if self.active[kind] >= limit:
            message = f"{limit} {kind}s are being served, which is the limit ({setting}): try again"
            raise Refusal(503, "busy", message, retry_after_secs=1)
        self.active[kind] += 1
        try:
            yield
        finally:
            self.active[kind] -= 1

    async def drain(self, seconds: float) -> bool:
        """Accept nothing new and wait for what is going on; return whether all of it finished by itself."""
        self.draining = True
        return await self._idle(seconds)

    async def end_streams(self, seconds: float) -> bool:
        """Let streams end with what they have heard; return whether they did."""
        self.finish.set()
        return await self._idle(seconds)

    async def _idle(self, seconds: float) -> bool:
        deadline = asyncio.get_running_loop().time() + seconds
        while sum(self.active.values()):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(0.05)
        return True
