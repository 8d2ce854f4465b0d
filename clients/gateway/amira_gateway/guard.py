"""Middleware around every route: request IDs, access log, metrics, keys, rate limit, size of bodies, origins."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re
import time
import uuid
from urllib.parse import quote

from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amira_asr import Settings
from amira_gateway.metrics import Metrics
from amira_gateway.refusals import Refusal

log = logging.getLogger("amira_gateway")

SUBPROTOCOL = "amira"
_KEY_SUBPROTOCOL = "amira-key."
_REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
_GUARDED = ("/v1/", "/v2/")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class RequestIds:
    """Gives every request an ID, the caller's own if it sends one; counts and logs the answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                status = message.get("status", 101)
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, answer)
        finally:
            self._record(scope, request_id, status, time.perf_counter() - began)

    def _record(self, scope: Scope, request_id: str, status: int, secs: float) -> None:
        # The route's pattern, never the path, and known methods only: what callers make up would make metrics without
        # end. In the log the path is as it was sent, escaped: it may hold line breaks.
        route = getattr(scope.get("route"), "path", "") or "other"
        method = scope.get("method", "WS")
        self._metrics.requests.labels(method if method in _METHODS | {"WS"} else "other", route, str(status)).inc()
        if scope["type"] == "http":
            self._metrics.request_secs.labels(route).observe(secs)
        log.info("%s %s %s %.0f ms request_id=%s", method, quote(scope["path"]), status, secs * 1e3, request_id)


class Guard:
    """Refuses who may not call, who calls too often, and bodies that are too large, before any of it is read."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._keys = [key for key in map(str.strip, settings.gateway_api_keys.get_secret_value().split(",")) if key]
        self._origins = origins_of(settings)
        self._max_bytes = int(settings.gateway_max_upload_mb * 1e6)
        self._rate = parse(settings.gateway_rate_limit) if settings.gateway_rate_limit else None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse in the form of the connection."""
        if scope["type"] not in ("http", "websocket") or not scope["path"].startswith(_GUARDED):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            if scope["type"] == "websocket":
                self._check_origin(connection)
            address = connection.client.host if connection.client else "unknown"
            try:
                caller = self._check_key(connection)
            except Refusal:  # whoever tries keys is counted, too
                await self._check_rate(address)
                raise
            await self._check_rate(caller or address)
            self._check_length(int(connection.headers.get("content-length") or 0))
        except Refusal as refusal:
            if scope["type"] == "websocket":
                await receive()  # the request to connect
            await refusal.response()(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    def _check_origin(self, connection: HTTPConnection) -> None:
        """Refuse web pages of other origins: browsers let any page open a WebSocket to anywhere."""
        origin = connection.headers.get("origin")
        own = {f"{scheme}://{connection.headers.get('host')}" for scheme in ("http", "https")}
        if origin is not None and origin not in own and origin not in self._origins and "*" not in self._origins:
            message = f"origin is {origin!r}; allowed: this server's own pages, and gateway_cors_origins"
            raise Refusal(403, "origin_not_allowed", message)

    def _check_key(self, connection: HTTPConnection) -> str:
        """Return the key that was sent, empty when none is needed."""
        if not self._keys:
            return ""
        sent = _sent_key(connection)
        if not any(hmac.compare_digest(sent.encode(), key.encode()) for key in self._keys):
            message = "wrong API key" if sent else "an API key is needed"
            raise Refusal(401, "invalid_api_key", f"{message}: Authorization: Bearer <key>, or X-API-Key: <key>")
        return sent

    async def _check_rate(self, caller: str) -> None:
        if self._rate is not None and not await self._limiter.hit(self._rate, caller):
            window = await self._limiter.get_window_stats(self._rate, caller)
            raise Refusal(
                429, "rate_limit", f"more than {self._rate} for one caller", retry_after_secs=window[0] - time.time()
            )

    def _check_length(self, length: int) -> None:
        if length > self._max_bytes:
            message = f"the body has {length} bytes; allowed: {self._max_bytes} (gateway_max_upload_mb)"
            raise Refusal(413, "too_large", message)

    def _counted(self, receive: Receive) -> Receive:
        """Return `receive` with a limit for bodies that come without a length."""
        received = 0

        async def count() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                self._check_length(received)
            return message

        return count


def origins_of(settings: Settings) -> list[str]:
    """Return the origins of web pages that may call."""
    return [origin for origin in map(str.strip, settings.gateway_cors_origins.split(",")) if origin]


def _sent_key(connection: HTTPConnection) -> str:
    """Return the key that a caller sent, empty when none.

    Web pages cannot set headers of a WebSocket: theirs is a subprotocol, `amira-key.` and the key as base64url.
    """
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    for protocol in connection.scope.get("subprotocols", []):
        if protocol.startswith(_KEY_SUBPROTOCOL):
            encoded = protocol.removeprefix(_KEY_SUBPROTOCOL)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                return ""
    return connection.headers.get("x-api-key", "")
