"""Running the gateway: uvicorn, with a stop that lets streams finish."""

from __future__ import annotations

import asyncio
import logging
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from amira_asr import Settings
from amira_gateway.admission import Admission

log = logging.getLogger("amira_gateway")

_LAST_WORDS_SECS = 5.0


class GatewayServer(uvicorn.Server):
    """On the first signal nothing new is accepted, and what is going on may finish; a second one stops at once."""

    def __init__(self, config: uvicorn.Config, admission: Admission, shutdown_secs: float) -> None:
        super().__init__(config)
        self._admission = admission
        self._shutdown_secs = shutdown_secs
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until stopped."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop, or stop."""
        if self._draining is None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin_drain)
        else:
            super().handle_exit(sig, frame)

    def _begin_drain(self) -> None:
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        active = sum(self._admission.active.values())
        log.info("stopping: %d streams and recordings may finish within %g s", active, self._shutdown_secs)
        if not await self._admission.drain(self._shutdown_secs) and not await self._admission.end_streams(
            _LAST_WORDS_SECS
        ):
            log.warning("not everything had finished in time")
        self.should_exit = True


def gateway_server(app: FastAPI, settings: Settings) -> GatewayServer:
    """Return a server for the application, not started."""
    config = uvicorn.Config(
        app,
        host=settings.gateway_host,
        port=settings.gateway_port,
        ssl_certfile=settings.gateway_tls_certificate,
        ssl_keyfile=settings.gateway_tls_key,
        access_log=False,  # ours has request IDs
        log_config=None,
        ws_max_size=1 << 20,
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    return GatewayServer(config, app.state.admission, settings.shutdown_timeout_secs)
