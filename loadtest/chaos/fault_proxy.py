"""A TCP proxy that does to a connection what bad networks do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType

_PIECE = 16384
# Pieces on their way in one direction; what is behind them waits at the sender.
_WINDOW = 64


@dataclass(frozen=True)
class Line:
    """How the line is at the moment.

    Attributes:
        delay_secs: added to each piece in each direction.
        bytes_per_sec: most, in each direction of each connection; None for no limit.
        silent: nothing arrives any more, and nobody is told.
        damage: probability that a piece arrives with one bit turned over.
    """

    delay_secs: float = 0.0
    bytes_per_sec: float | None = None
    silent: bool = False
    damage: float = 0.0


GOOD_LINE = Line()


class FaultProxy:
    """Passes connections to one address. `line` may change at any time. A context manager."""

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        """Prepare to connect to `host`:`port`, through a free port of the loopback."""
        self.line = GOOD_LINE
        self.damaged = 0
        self._target = (host, port)
        self._source = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._connections: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()

    @property
    def endpoint(self) -> str:
        """host:port to connect to."""
        if self._server is None:
            raise RuntimeError("the proxy is not running")
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def __aenter__(self) -> FaultProxy:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and cut what is left."""
        if self._server is not None:
            self._server.close()
            self.cut()
            await self._server.wait_closed()

    def cut(self) -> int:
        """Reset all connections; return how many."""
        cut = list(self._connections)
        for pair in cut:
            for writer in pair:
                _reset(writer)
        return len(cut)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.open_connection(*self._target)
        except OSError:  # nobody there: the caller sees the same through the proxy
            _reset(writer)
            return
        pair = (writer, other_writer)
        self._connections.add(pair)
        try:
            await asyncio.gather(self._pass(reader, other_writer), self._pass(other_reader, writer))
        finally:
            self._connections.discard(pair)
            for end in pair:
                end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction, in order, until its end."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WINDOW)
        delivery = asyncio.create_task(self._deliver(under_way.get, writer))
        loop = asyncio.get_running_loop()
        data = b"-"
        with contextlib.suppress(ConnectionError):
            while data:
                data = await reader.read(_PIECE)
                await under_way.put((loop.time() + self.line.delay_secs, data))
        if data:  # the connection broke
            delivery.cancel()
        await asyncio.gather(delivery, return_exceptions=True)

    async def _deliver(
        self, next_piece: Callable[[], Awaitable[tuple[float, bytes]]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await next_piece()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            line = self.line
            if line.silent:
                continue
            if self._source.random() < line.damage:
                data = self._turn_a_bit(data)
            writer.write(data)
            await writer.drain()
            if line.bytes_per_sec is not None:
                await asyncio.sleep(len(data) / line.bytes_per_sec)

    def _turn_a_bit(self, data: bytes) -> bytes:
        self.damaged += 1
        damaged = bytearray(data)
        damaged[self._source.randrange(len(data))] ^= 1 << self._source.randrange(8)
        return bytes(damaged)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset, as a crashed host or a firewall does."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
