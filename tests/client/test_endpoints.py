"""Several servers: turns, failover of calls and of streams, retries."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections import Counter
from contextlib import AsyncExitStack

import numpy as np
import pytest

from amira_asr import (
    AsyncAsrClient,
    ClientClosed,
    Final,
    InvalidAudio,
    RateLimited,
    ServerFull,
    ServerStopping,
    ServerUnavailable,
    Settings,
)
from loadtest.chaos.fault_proxy import FaultProxy
from tests.client.fake_triton import CHUNK, FAST, FULL, FakeTriton, chunk, recognise, serving, words

STOPPING = "server is stopping: it takes nothing new"
LIMITED = "rate limited: this client opened 10 streams within a minute, its limit"


@pytest.fixture
async def pair():
    """Two servers, and a client of both."""
    servers = [FakeTriton(), FakeTriton()]
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(serving(server)) for server in servers]
        settings = Settings(triton_endpoint=", ".join(addresses), **FAST)
        client = await stack.enter_async_context(AsyncAsrClient(settings))
        yield servers, client


def starts(servers):
    return [len(server.sequences) for server in servers]


async def test_streams_take_turns(pair):
    servers, client = pair
    for _ in range(4):
        assert (await recognise(client, range(1, 4)))[-1].text == words(1, 2, 3)
    assert starts(servers) == [2, 2]
    assert [state.circuit for state in client.endpoints] == ["closed", "closed"]


@pytest.mark.parametrize("refusal", [FULL, STOPPING, LIMITED])
async def test_a_refused_stream_begins_on_the_other_server_at_once(pair, refusal):
    servers, client = pair
    servers[0].refusing = refusal
    began = time.monotonic()
    for _ in range(3):
        assert (await recognise(client, range(1, 4)))[-1].text == words(1, 2, 3)
    assert time.monotonic() - began < 1.0
    assert starts(servers)[1] == 3
    assert starts(servers)[0] <= 1, "a server that refused was asked again at once"
    assert [state.circuit for state in client.endpoints] == ["closed", "closed"], "it is alive"


@pytest.mark.parametrize(("refusal", "kind"), [(FULL, ServerFull), (STOPPING, ServerStopping), (LIMITED, RateLimited)])
async def test_a_stream_that_all_refuse_is_tried_again_after_a_while_and_then_given_up(pair, refusal, kind):
    servers, client = pair
    for server in servers:
        server.refusing = refusal
    with pytest.raises(kind):
        await recognise(client, range(1, 4))
    assert sum(starts(servers)) == 4  # retry_attempts, and one for the further server
    opening = asyncio.ensure_future(recognise(client, range(1, 4)))
    await asyncio.sleep(0.01)
    servers[1].refusing = ""
    assert (await opening)[-1].text == words(1, 2, 3)


@pytest.mark.parametrize("number", [1, 7, 19])
async def test_a_stream_whose_server_breaks_goes_on_at_the_other(pair, number):
    servers, client = pair
    servers[0].break_before.add(number)
    events = await recognise(client, range(1, 21))
    assert [event.text for event in events[:-1]] == [words(*range(1, n + 1)) for n in range(1, 21)]
    assert (type(events[-1]), events[-1].text) == (Final, words(*range(1, 21)))
    assert starts(servers) == [1, 1]


async def test_a_stream_whose_server_freezes_goes_on_at_the_other_after_the_deadline(pair):
    servers, client = pair

    async def audio():
        for level in range(1, 21):
            if level == 7:
                servers[0].running.clear()
            yield chunk(level)

    began = time.monotonic()
    events = [event async for event in client.stream(audio())]
    assert [event.text for event in events[:-1]] == [words(*range(1, n + 1)) for n in range(1, 21)]
    assert starts(servers) == [1, 1]
    assert time.monotonic() - began < FAST["inference_timeout_secs"] + 3


async def test_many_streams_move_without_a_word_lost(pair):
    servers, client = pair
    servers[0].break_before |= {40}
    many = [range(first, first + 20) for first in range(1, 601, 20)]
    patient = Settings(triton_endpoint=",".join(state.address for state in client.endpoints))
    async with AsyncAsrClient(patient) as client:
        finals = [events[-1].text for events in await asyncio.gather(*(recognise(client, levels) for levels in many))]
    assert finals == [words(*levels) for levels in many]


async def test_a_call_goes_to_the_other_server_when_one_is_gone():
    async with AsyncExitStack() as stack:
        gone, here = FakeTriton(), FakeTriton()
        async with serving(gone) as dead:
            pass
        alive = await stack.enter_async_context(serving(here))
        settings = Settings(triton_endpoint=f"{dead},{alive}", **FAST)
        client = await stack.enter_async_context(AsyncAsrClient(settings))
        assert await client.is_ready()
        for _ in range(6):
            assert (await client.transcribe(chunk(5))).text == "w5"
            assert len(await client.models()) == 2
        assert client.endpoints[1].circuit == "closed"
        assert client.endpoints[0].failures > 0
        assert "Connection refused" in client.endpoints[0].last_error or dead in client.endpoints[0].last_error


async def test_what_is_wrong_with_a_request_is_never_tried_again(pair):
    servers, client = pair
    for server in servers:
        server.fail_at[0] = "AUDIO[3] is nan; every sample must be a finite number in [-1, 1]"
    with pytest.raises(InvalidAudio):
        await client.transcribe(chunk(1))
    assert sum(len(server.requests) for server in servers) == 1


async def test_a_call_that_the_server_cannot_do_for_now_is_tried_again():
    triton = FakeTriton(fail_at={0: FULL, 1: LIMITED})
    async with serving(triton) as endpoint, AsyncAsrClient(Settings(triton_endpoint=endpoint)) as client:
        assert (await client.transcribe(chunk(5))).text == "w5"
        assert len(triton.requests) == 3


async def test_a_recording_whose_server_dies_is_recognised_by_the_next_one():
    triton = FakeTriton()
    settings = {"retry_attempts": 2, "circuit_breaker_failures": 2, "resume_timeout_secs": 20.0}
    async with AsyncExitStack() as stack:
        first = AsyncExitStack()
        address = await first.enter_async_context(serving(triton))
        client = await stack.enter_async_context(AsyncAsrClient(Settings(triton_endpoint=address, **settings)))
        arrived = asyncio.Event()
        triton.on_utterance = arrived.set
        asking = asyncio.ensure_future(client.transcribe(chunk(5)))
        await arrived.wait()
        await first.aclose()
        await asyncio.sleep(2)  # longer than two tries take
        triton.on_utterance = None
        await stack.enter_async_context(serving(triton, address))
        assert (await asking).text == "w5"


async def test_a_recording_that_ends_servers_does_not_end_them_all():
    triton = FakeTriton()
    async with serving(triton) as address, FaultProxy(address) as proxy:
        triton.on_utterance = proxy.cut
        async with AsyncAsrClient(Settings(triton_endpoint=proxy.endpoint)) as client:
            with pytest.raises(ServerUnavailable):
                await client.transcribe(chunk(5))
    assert len(triton.requests) == Settings().retry_attempts


async def test_a_limit_that_says_when_is_waited_for_unless_that_is_long():
    soon, late = (f"rate limited: client 'x' may start 2 in 60 s; try again in {secs} s" for secs in (1, 50))
    triton = FakeTriton(fail_at={0: soon, 1: late, 2: late, 3: late})
    async with serving(triton) as endpoint, AsyncAsrClient(Settings(triton_endpoint=endpoint)) as client:
        began = time.monotonic()
        with pytest.raises(RateLimited) as caught:
            await client.transcribe(chunk(5))
        assert 1.0 <= time.monotonic() - began < 10
        assert caught.value.retry_after_secs == 50
        assert len(triton.requests) == 3


async def test_every_call_says_whose_it_is():
    triton = FakeTriton()
    async with serving(triton) as endpoint:
        for key in ("tenant-7", ""):
            async with AsyncAsrClient(Settings(triton_endpoint=endpoint, client_key=key)) as client:
                await recognise(client, range(1, 3))
                await client.transcribe(chunk(5))
    assert triton.clients == ["tenant-7", "tenant-7", None, None]


async def test_a_closed_client_says_so(pair):
    _, client = pair
    await client.close()
    with pytest.raises(ClientClosed) as caught:
        await client.models()
    assert not caught.value.retryable
    with pytest.raises(ClientClosed):
        await client.transcribe(np.zeros(CHUNK, np.float32))


async def test_turns_are_fair_when_one_is_left_alone():
    servers = [FakeTriton() for _ in range(3)]
    servers[0].refusing = STOPPING
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(serving(server)) for server in servers]
        client = await stack.enter_async_context(AsyncAsrClient(Settings(triton_endpoint=",".join(addresses))))
        for _ in range(10):
            await recognise(client, range(1, 3))
    assert Counter(starts(servers)[1:]) == Counter([5, 5])


async def test_closing_ends_calls_on_their_way():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = AsyncAsrClient(Settings(triton_endpoint=f"127.0.0.1:{silent.getsockname()[1]}"))
        waiting = asyncio.ensure_future(client.models())
        await asyncio.sleep(0.2)
        await client.close()
        with pytest.raises(ClientClosed):
            await waiting


async def test_nobody_looks_for_a_server_after_closing():
    """A stream that fails because its client was closed is no reason to."""

    async def endless():
        for level in itertools.count(1):
            yield chunk(level)
            await asyncio.sleep(0.05)

    async with serving(FakeTriton()) as address:
        before = asyncio.all_tasks()
        client = AsyncAsrClient(Settings(triton_endpoint=address, resume_timeout_secs=0))
        events = client.stream(endless())
        await anext(events)
        await client.close()
        with pytest.raises(ServerUnavailable):
            async for _ in events:
                pass
        await asyncio.sleep(0.1)
        assert not [task for task in asyncio.all_tasks() - before if "_look" in str(task)]
