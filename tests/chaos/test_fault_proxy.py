"""Each fault of the proxy does what its name says."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from loadtest.chaos.certificates import temporary_tls
from loadtest.chaos.fault_proxy import GOOD_LINE, FaultProxy, Line


@pytest.fixture
async def proxy():
    """A proxy before a server that sends back what it gets."""

    async def echo(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, FaultProxy(f"{host}:{port}") as running:
        yield running


async def connect(proxy):
    host, port = proxy.endpoint.split(":")
    return await asyncio.open_connection(host, int(port))


async def echoed(connection, data):
    reader, writer = connection
    writer.write(data)
    return await asyncio.wait_for(reader.readexactly(len(data)), 10)


async def test_a_good_line_passes_everything_in_order_and_the_end(proxy):
    data = bytes(range(256)) * 5000
    reader, writer = await connect(proxy)
    assert await echoed((reader, writer), data) == data
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_a_cut_resets_connections_and_new_ones_work(proxy):
    connection = await connect(proxy)
    await echoed(connection, b"hello")
    assert proxy.cut() == 1
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await echoed(connection, b"hello")
    assert await echoed(await connect(proxy), b"hello") == b"hello"


async def test_delay_counts_in_both_directions(proxy):
    connection = await connect(proxy)
    proxy.line = Line(delay_secs=0.1)
    began = time.monotonic()
    await echoed(connection, b"hello")
    assert 0.2 <= time.monotonic() - began < 1


async def test_a_narrow_line_takes_its_time(proxy):
    connection = await connect(proxy)
    proxy.line = Line(bytes_per_sec=200_000)
    began = time.monotonic()
    await echoed(connection, bytes(100_000))
    assert time.monotonic() - began > 0.4


async def test_a_silent_line_says_nothing_and_does_not_break(proxy):
    reader, writer = await connect(proxy)
    proxy.line = Line(silent=True)
    writer.write(b"lost")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.3)
    proxy.line = GOOD_LINE
    assert await echoed((reader, writer), b"hello") == b"hello"


async def test_damage_turns_single_bits(proxy):
    connection = await connect(proxy)
    proxy.line = Line(damage=1.0)
    received = await echoed(connection, bytes(10))
    assert proxy.damaged == 2
    assert 0 < sum(byte.bit_count() for byte in received) <= 2


async def test_nobody_behind_the_proxy_is_a_reset():
    async with FaultProxy("127.0.0.1:9") as proxy:
        reader, _ = await connect(proxy)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


async def test_damage_on_a_line_with_tls_breaks_the_connection_and_no_byte_arrives_wrong(proxy):
    server_side, client_side = temporary_tls()
    async with (
        FaultProxy(proxy.endpoint, accept_tls=server_side) as far_end,
        FaultProxy(far_end.endpoint) as line,
        FaultProxy(line.endpoint, connect_tls=client_side) as near_end,
    ):
        connection = await connect(near_end)
        assert await echoed(connection, b"hello") == b"hello"
        line.line = Line(damage=1.0)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await echoed(connection, b"hello")
        line.line = GOOD_LINE
        assert await echoed(await connect(near_end), b"hello") == b"hello"
