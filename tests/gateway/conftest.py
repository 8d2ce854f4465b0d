"""A gateway on a port of its own, with the session's Triton behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import numpy as np
import pytest

from amira_asr import Settings
from amira_gateway.app import create_app
from amira_gateway.server import GatewayServer, gateway_server


@dataclass(frozen=True)
class RunningGateway:
    """A gateway that serves."""

    server: GatewayServer
    port: int

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket_url(self):
        return f"ws://127.0.0.1:{self.port}/v2/decode/stream"


@contextmanager
def running_gateway(endpoint: str, **settings: object) -> Iterator[RunningGateway]:
    """Run a gateway in a thread."""
    chosen = Settings(triton_endpoint=endpoint, gateway_port=0, **settings)
    server = gateway_server(create_app(chosen), chosen)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    for _ in range(500):
        if server.started:
            break
        thread.join(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield RunningGateway(server, port)
    finally:
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def gateway(server) -> Iterator[RunningGateway]:
    """The gateway of the whole test session, with default settings."""
    with running_gateway(server.grpc_endpoint) as running:
        yield running


@pytest.fixture
def http(gateway) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        yield client


def pcm(audio) -> bytes:
    """[samples] float32 as 16-bit little-endian bytes."""
    return np.round(audio * 32767).astype("<i2").tobytes()
