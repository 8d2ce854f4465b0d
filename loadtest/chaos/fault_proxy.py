"""A TCP proxy that does to a connection what bad networks do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
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
        damage_there: the same, of pieces to the endpoint alone, not of those back.
    """

    delay_secs: float = 0.0
    bytes_per_sec: float | None = None
    silent: bool = False
    damage: float = 0.0
    damage_there: float = 0.0


GOOD_LINE = Line()


class FaultProxy:
    """Passes connections to one address. `line` may change at any time. A context manager."""

    def __init__(
        self,
        endpoint: str,
        *,
        accept_tls: ssl.SSLContext | None = None,
        connect_tls: ssl.SSLContext | None = None,
        seed: int = 0,
    ) -> None:
        """Prepare to listen on a free port of the loopback.

        Args:
            endpoint: host:port to connect to.
            accept_tls: for connections that come in; None for plain TCP.
            connect_tls: for those to the endpoint.
            seed: of what is damaged.
        """
        self.line = GOOD_LINE
        self.refusing = False  # new connections are reset: nobody is behind it
        self.damaged = 0
        host, port = endpoint.split(":")
        self._target = (host, int(port))
        self._accept_tls, self._connect_tls = accept_tls, connect_tls
        self._source = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
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
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._accept_tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and cut what is left."""
        if self._server is not None:
            self._server.close()
            self.cut()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)
            await self._server.wait_closed()

    def cut(self) -> int:
        """Reset all connections; return how many."""
        cut = list(self._connections)
        for pair in cut:
            for writer in pair:
                _reset(writer)
        return len(cut)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._join(reader, writer))
        self._serving.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self._serving.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect to the endpoint and carry both directions until one end breaks or both are done."""
        if self.refusing:
            _reset(writer)
            return
        try:
            other_reader, other_writer = await asyncio.open_connection(*self._target, ssl=self._connect_tls)
        except OSError:  # nobody there: the caller sees the same through the proxy
            _reset(writer)
            return
        pair = (writer, other_writer)
        self._connections.add(pair)
        directions = [
            asyncio.create_task(self._pass(reader, other_writer, there=True)),
            asyncio.create_task(self._pass(other_reader, writer, there=False)),
        ]
        try:
            await asyncio.gather(*directions)
        except OSError:  # one end broke: the other one is told
            for end in pair:
                _reset(end)
        finally:
            for direction in directions:
                direction.cancel()
            self._connections.discard(pair)
            for end in pair:
                end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, there: bool) -> None:
        """Carry one direction, in order, until its end. Raises OSError when it breaks."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WINDOW)
        # Side by side: who waits for room behind a delivery that broke would wait for ever.
        parts = [
            asyncio.create_task(self._accept(reader, under_way.put)),
            asyncio.create_task(self._deliver(under_way.get, writer, there=there)),
        ]
        try:
            await asyncio.gather(*parts)
        finally:
            for part in parts:
                part.cancel()

    async def _accept(
        self, reader: asyncio.StreamReader, put_piece: Callable[[tuple[float, bytes]], Awaitable[None]]
    ) -> None:
        loop = asyncio.get_running_loop()
        data = b"-"
        while data:
            data = await reader.read(_PIECE)
            await put_piece((loop.time() + self.line.delay_secs, data))

    async def _deliver(
        self, next_piece: Callable[[], Awaitable[tuple[float, bytes]]], writer: asyncio.StreamWriter, *, there: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await next_piece()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                with contextlib.suppress(OSError):
                    _end(writer)
                return
            line = self.line
            if line.silent:
                continue
            if self._source.random() < line.damage + line.damage_there * there:
                data = self.damage(data)
            writer.write(data)
            await writer.drain()
            if line.bytes_per_sec is not None:
                await asyncio.sleep(len(data) / line.bytes_per_sec)

    def damage(self, data: bytes) -> bytes:
        """Return a piece with one bit turned over."""
        self.damaged += 1
        damaged = bytearray(data)
        damaged[self._source.randrange(len(data))] ^= 1 << self._source.randrange(8)
        return bytes(damaged)


def _end(writer: asyncio.StreamWriter) -> None:
    """Say that nothing more comes. TLS cannot say it of one direction alone."""
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset, as a crashed host or a firewall does."""
    connection = writer.get_extra_info("socket")
    if connection is not None:  # else it is closed already
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
