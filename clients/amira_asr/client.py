"""The blocking client: the asyncio client, run in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from amira_asr.aio import AsyncAsrClient
from amira_asr.audio import MODEL_SAMPLE_RATE
from amira_asr.chunker import Buffer, SampleFormat
from amira_asr.endpoint import EndpointState
from amira_asr.errors import ClientClosed
from amira_asr.events import Final, Partial, ServerModel
from amira_asr.options import NO_OPTIONS, DecodingOptions, Finalize
from amira_asr.settings import Settings

_T = TypeVar("_T")
_Events = AsyncGenerator[Partial | Final, None]

# How long an interrupted call may take to say goodbye to the server.
_INTERRUPT_SECS = 3.0
_CLOSED = "this client is closed: make a new one"


class AsrClient:
    """`AsyncAsrClient` for blocking code. Use it as a context manager.

    Its methods may be called from several threads at once.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        """Prepare; nothing is sent yet. As `AsyncAsrClient`."""
        self._open: set[_Events] = set()
        self._closed = False
        # Between a look at `_closed` and what it decides. Garbage collection may ask again in the same thread.
        self._closing = threading.RLock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="amira-asr", daemon=True)
        self._thread.start()
        try:
            self._client = self._run(_make(settings))
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> AsrClient:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """End the streams still open, close the connection, end the thread. May be called twice.

        Calls that other threads wait for end with `ClientClosed`.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
            shutting_down = asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop)
        shutting_down.result()
        self._stop()

    @property
    def endpoints(self) -> tuple[EndpointState, ...]:
        """How each server has done lately, in the order of the settings."""
        return self._client.endpoints

    def is_ready(self) -> bool:
        """Whether a server and all its models are ready; False when there is none."""
        return self._run(self._client.is_ready())

    def models(self) -> list[ServerModel]:
        """Return the recognisers of the server. Raises AmiraError."""
        return self._run(self._client.models())

    def stream(
        self,
        audio: Iterable[Buffer | Finalize],
        *,
        sample_rate: int = MODEL_SAMPLE_RATE,
        sample_format: SampleFormat = "s16le",
        channels: int = 1,
        options: DecodingOptions = NO_OPTIONS,
    ) -> Iterator[Partial | Final]:
        """Recognise audio while it comes; as `AsyncAsrClient.stream`. The audio is iterated in a thread of its own."""
        events = self._client.stream(
            audio, sample_rate=sample_rate, sample_format=sample_format, channels=channels, options=options
        )
        self._open.add(events)
        try:
            while (event := self._run(_next(events))) is not None:
                yield event
        finally:
            self._open.discard(events)
            self._abandon(events)

    def transcribe(
        self,
        audio: str | Path | Buffer,
        *,
        sample_rate: int = MODEL_SAMPLE_RATE,
        sample_format: SampleFormat = "s16le",
        channels: int = 1,
        options: DecodingOptions = NO_OPTIONS,
    ) -> Final:
        """Recognise a whole recording; as `AsyncAsrClient.transcribe`."""
        return self._run(
            self._client.transcribe(
                audio, sample_rate=sample_rate, sample_format=sample_format, channels=channels, options=options
            )
        )

    def _run(self, call: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the client's thread and wait for it. Raises ClientClosed."""
        done = threading.Event()
        with self._closing:
            if self._closed:
                call.close()
                raise ClientClosed(_CLOSED)
            future = asyncio.run_coroutine_threadsafe(_marked(call, done), self._loop)
        try:
            return future.result()
        except CancelledError:
            if self._closed:
                raise ClientClosed(_CLOSED) from None
            raise
        except KeyboardInterrupt:
            future.cancel()
            done.wait(_INTERRUPT_SECS)
            raise

    def _abandon(self, events: _Events) -> None:
        """End a stream. Garbage collection may call this in the client's own thread, which must not wait for itself."""
        if threading.current_thread() is self._thread:
            self._loop.create_task(events.aclose())
        else:
            with contextlib.suppress(ClientClosed):  # which ends streams, too
                self._run(events.aclose())

    async def _shut_down(self) -> None:
        for events in list(self._open):
            with contextlib.suppress(RuntimeError):  # another thread is waiting for its next event
                await events.aclose()
        await self._client.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _make(settings: Settings | None) -> AsyncAsrClient:
    return AsyncAsrClient(settings)


async def _marked(call: Coroutine[Any, Any, _T], done: threading.Event) -> _T:
    try:
        return await call
    finally:
        done.set()


async def _next(events: _Events) -> Partial | Final | None:
    return await anext(events, None)
