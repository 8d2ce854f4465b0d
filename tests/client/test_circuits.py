"""A server that fails: when it is left alone, who looks for it, and when it is used again."""

from __future__ import annotations

import asyncio
import time

import pytest

from amira_asr import AsyncAsrClient, CircuitOpen, DeadlineExceeded, ServerUnavailable, Settings
from amira_asr import endpoint as endpoint_module
from loadtest.chaos.fault_proxy import FaultProxy
from tests.client.fake_triton import FAST, FakeTriton, chunk, recognise, serving, words


async def until_circuit(client, circuit):
    """Nobody tells when it changes."""
    deadline = time.monotonic() + 5
    while client.endpoints[0].circuit != circuit:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_server_that_was_too_slow_is_not_asked_again():
    triton = FakeTriton()
    triton.running.clear()
    async with serving(triton) as endpoint, AsyncAsrClient(Settings(triton_endpoint=endpoint, **FAST)) as client:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="did not answer within"):
            await client.models()
        [state] = client.endpoints
        assert (state.circuit, state.failures) == ("closed", 1)
        assert time.monotonic() - began < 2.0


async def test_the_circuit_opens_fails_at_once_and_closes_after_a_probe(monkeypatch):
    monkeypatch.setattr(endpoint_module, "_LOOK_LONGEST_SECS", 0.0)  # as after a minute in which nobody wanted it
    triton = FakeTriton()
    async with serving(triton) as endpoint:
        pass
    async with AsyncAsrClient(Settings(triton_endpoint=endpoint, **FAST)) as client:
        with pytest.raises(ServerUnavailable, match=rf"{endpoint}.*circuit open after 2 failures"):
            await client.models()
        assert client.endpoints[0].circuit == "open"
        began = time.monotonic()
        with pytest.raises(CircuitOpen, match=rf"{endpoint} \(circuit open after 2 failures, tried again in") as caught:
            await client.models()
        assert time.monotonic() - began < 0.1
        assert 0 < caught.value.retry_after_secs <= 2
        async with serving(triton, endpoint):
            await asyncio.sleep(FAST["circuit_breaker_recovery_secs"] + 0.3)
            assert client.endpoints[0].circuit == "half-open"
            answers = await asyncio.gather(*(client.models() for _ in range(10)))
            assert all(len(models) == 2 for models in answers)
            assert triton.probes == 1, "more than one call tried a server that may still be down"
            assert client.endpoints[0].circuit == "closed"


async def test_a_server_that_was_away_is_used_again_a_moment_after_it_is_back():
    triton = FakeTriton()
    async with serving(triton) as endpoint:
        pass
    patient = {**FAST, "circuit_breaker_recovery_secs": 60.0}
    async with AsyncAsrClient(Settings(triton_endpoint=endpoint, **patient)) as client:
        with pytest.raises(ServerUnavailable):
            await client.models()
        await until_circuit(client, "open")
        with pytest.raises(CircuitOpen):
            await client.models()
        async with serving(triton, endpoint):
            began = time.monotonic()
            await until_circuit(client, "closed")
            assert time.monotonic() - began < 1.5
            assert len(await client.models()) == 2
            probes = triton.probes
            await asyncio.sleep(0.5)
            assert triton.probes == probes, "a server that is back was looked for all the same"


async def test_a_dead_server_is_left_in_peace():
    tried = []

    async def hang_up(_reader, writer):
        tried.append(time.monotonic())
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, AsyncAsrClient(Settings(triton_endpoint=address, resume_timeout_secs=5)) as client:
        answers = await asyncio.gather(*(recognise(client, range(1, 4)) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(answer, ServerUnavailable) for answer in answers)
        await asyncio.sleep(4)
    assert len(tried) < 20, "20 streams tried it by themselves"


async def test_a_connection_that_breaks_under_many_streams_is_one_failure():
    triton = FakeTriton()
    async with serving(triton) as address, FaultProxy(address) as proxy:
        settings = Settings(triton_endpoint=proxy.endpoint, circuit_breaker_failures=3)
        async with AsyncAsrClient(settings) as client:
            under_way = asyncio.Semaphore(0)

            async def audio():
                for level in range(1, 21):
                    if level == 5:
                        under_way.release()
                    await asyncio.sleep(0.05)
                    yield chunk(level)

            async def speak():
                return [event async for event in client.stream(audio())][-1].text

            speaking = [asyncio.ensure_future(speak()) for _ in range(20)]
            for _ in speaking:
                await under_way.acquire()
            assert proxy.cut() == 1
            worst = []
            while not all(stream.done() for stream in speaking):
                worst.append((client.endpoints[0].circuit, client.endpoints[0].failures))
                await asyncio.sleep(0.005)
            assert {circuit for circuit, _ in worst} == {"closed"}
            assert max(failures for _, failures in worst) == 1
            assert await asyncio.gather(*speaking) == [words(*range(1, 21))] * 20


async def test_a_failed_probe_opens_the_circuit_again():
    triton = FakeTriton()
    async with serving(triton) as endpoint:
        pass
    async with AsyncAsrClient(Settings(triton_endpoint=endpoint, **FAST)) as client:
        with pytest.raises(ServerUnavailable):
            await client.models()
        await asyncio.sleep(FAST["circuit_breaker_recovery_secs"] + 0.1)
        with pytest.raises(ServerUnavailable, match=f"no server is .*{endpoint}"):
            await client.models()
        assert client.endpoints[0].circuit == "open"
