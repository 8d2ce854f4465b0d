"""The fake server in a thread of its own, for blocking code and commands."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.client.fake_triton import FakeTriton, serving


@pytest.fixture
def endpoint(threaded_triton):
    """host:port of a fake server."""
    return threaded_triton.endpoint


@pytest.fixture
def threaded_triton():
    """A fake server with an `endpoint`, on a loop of its own."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()
    made = []

    async def serve():
        triton = FakeTriton()
        async with serving(triton) as triton.endpoint:
            made.append(triton)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield made[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()
