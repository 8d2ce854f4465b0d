"""`WS /v2/decode/stream/{model}`: audio in, partial and final transcripts out, as the older server did it.

Binary messages carry audio, 16-bit little-endian samples of one channel. One of exactly one byte is a control frame and
never audio: 0x00 ends the stream, 0x01 keeps it alive. Longer messages are always audio; an odd byte at the end of one
is the first half of the sample that the next one completes. Empty messages are ignored. Text messages are the same
controls in words: {"type": "end"}, {"type": "keepalive"}, and {"type": "finalize"}, which ends a segment.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from amira_asr import FINALIZE, AmiraError, Final, InvalidAudio
from amira_asr.options import Finalize
from amira_gateway.gateway import Gateway, gateway_of
from amira_gateway.guard import SUBPROTOCOL
from amira_gateway.options import StreamOptions
from amira_gateway.recognisers import Recogniser
from amira_gateway.refusals import Refusal, invalid_fields, refusal_of
from amira_gateway.transcripts import StreamBody

router = APIRouter()

_END, _KEEPALIVE = 0x00, 0x01
_BYTES_PER_SAMPLE = 2
_CLOSE_NORMAL, _CLOSE_GOING_AWAY, _CLOSE_BAD_DATA, _CLOSE_ERROR, _CLOSE_RETRY = 1000, 1001, 1007, 1011, 1013


class _BadMessage(InvalidAudio):
    """A message that is no audio and no control frame."""


@router.websocket("/v2/decode/stream/{model}")
async def decode_stream(socket: WebSocket, model: str) -> None:
    """Recognise audio while it comes. What is refused at once is refused in place of the handshake, with its status."""
    gateway = gateway_of(socket)
    try:
        options = StreamOptions.model_validate(dict(socket.query_params))
        recogniser = await gateway.recognisers.find(model)
        if recogniser.streaming is None:
            raise Refusal(404, "model_not_found", f"model {recogniser.name!r} takes recordings only", param="model")
        with gateway.admission.stream(recogniser.name), gateway.metrics.live_streams.track_inprogress():
            await socket.accept(
                subprotocol=SUBPROTOCOL if SUBPROTOCOL in socket.scope.get("subprotocols", []) else None
            )
            await _Session(gateway, socket, recogniser, options).run()
    except ValidationError as error:
        await socket.send_denial_response(invalid_fields([dict(item) for item in error.errors()]).response())
    except (AmiraError, Refusal) as error:
        await socket.send_denial_response(refusal_of(error).response())


class _Session:
    """One accepted stream."""

    def __init__(self, gateway: Gateway, socket: WebSocket, recogniser: Recogniser, options: StreamOptions) -> None:
        self._gateway = gateway
        self._socket = socket
        self._recogniser = recogniser
        self._options = options
        self._receiving: asyncio.Future[Any] | None = None
        self._stopped = False  # because the gateway stops, not because the caller said so

    async def run(self) -> None:
        """Serve the stream to its end, whatever that is."""
        outcome = "error"
        try:
            await self._serve()
            outcome = "final"
            await self._socket.close(_CLOSE_GOING_AWAY if self._stopped else _CLOSE_NORMAL)
        except WebSocketDisconnect:
            outcome = "disconnected"
        except AmiraError as error:
            await self._fail(error)
        finally:
            if self._receiving is not None:
                self._receiving.cancel()
            self._gateway.metrics.streams.labels(self._recogniser.name, outcome).inc()

    async def _serve(self) -> None:
        client = self._gateway.recognisers.client(self._recogniser)
        metrics = self._gateway.metrics
        stable = 0
        options = self._options
        stream = client.stream(self._audio(), sample_rate=options.sample_rate, options=options.decoding())
        async with aclosing(stream) as events:  # its place on the server is given back before ours is
            async for event in events:
                words_from = stable if options.words else None
                await self._socket.send_text(StreamBody.of(event, words_from).model_dump_json())
                metrics.chunk_secs.observe(event.latency_ms / 1e3)
                stable = event.stable_words
                if isinstance(event, Final):
                    metrics.audio_secs.labels(self._recogniser.name, "stream").inc(event.audio_secs)

    async def _fail(self, error: AmiraError) -> None:
        """Say what went wrong, and what had been recognised, then hang up."""
        refusal = refusal_of(error)
        detail = refusal.body.error
        close = _CLOSE_BAD_DATA if refusal.status_code < 500 else _CLOSE_ERROR
        if error.retryable:
            close = _CLOSE_RETRY
        try:
            message = {"type": "error", **detail.model_dump(exclude={"type"}), "retryable": error.retryable}
            await self._socket.send_json(message)
            await self._socket.close(close, detail.code)
        except (WebSocketDisconnect, RuntimeError):  # the caller has hung up meanwhile
            return

    async def _audio(self) -> AsyncGenerator[bytes | Finalize, None]:
        """Yield what the caller sends until it ends the stream, or the gateway does.

        Raises:
            WebSocketDisconnect: the caller is gone.
            InvalidAudio: a message of an unknown kind, silence for too long, more audio than allowed.
        """
        limit = self._gateway.settings.gateway_max_audio_secs
        left = limit * self._options.sample_rate * _BYTES_PER_SAMPLE
        while (message := await self._receive()) is not None:
            data = message.get("bytes")
            if data is None:
                control = _text_control(message.get("text") or "")
            elif len(data) == 1:
                control = _byte_control(data[0])
            else:
                control = "audio"
            if control == "end":
                return
            if control == "finalize":
                yield FINALIZE
            elif control == "audio" and data:
                left -= len(data)
                if left < 0:
                    raise InvalidAudio(
                        f"the stream is longer than {limit:g} s, the most allowed (gateway_max_audio_secs)"
                    )
                yield data

    async def _receive(self) -> dict[str, Any] | None:
        """Return the next message; None when the gateway stops."""
        idle_secs = self._gateway.settings.stream_timeout_secs
        if self._receiving is None:
            self._receiving = asyncio.ensure_future(self._socket.receive())
        finish = asyncio.ensure_future(self._gateway.admission.finish.wait())
        try:
            done, _ = await asyncio.wait(
                {self._receiving, finish}, timeout=idle_secs, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            finish.cancel()
        if self._receiving in done:
            receiving, self._receiving = self._receiving, None
            message: dict[str, Any] = receiving.result()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", _CLOSE_NORMAL))
            return message
        if finish in done:
            self._stopped = True
            return None
        raise _BadMessage(f"nothing came for {idle_secs:g} s; send audio, or 0x01 to keep the stream alive")


def _byte_control(value: int) -> str:
    if value == _END:
        return "end"
    if value == _KEEPALIVE:
        return "keepalive"
    raise _BadMessage(f"control byte is 0x{value:02x}; allowed: 0x00 ends the stream, 0x01 keeps it alive")


def _text_control(text: str) -> str:
    try:
        kind = json.loads(text)["type"]
    except (ValueError, TypeError, KeyError, RecursionError):
        kind = text
    if kind not in ("end", "keepalive", "finalize"):
        allowed = '{"type": "end"}, {"type": "keepalive"}, {"type": "finalize"}'
        raise _BadMessage(f"text message is {str(kind)[:80]!r}; allowed: {allowed}")
    return str(kind)
