"""The blocking client: the asyncio client, run in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from amira_asr.aio import AsyncAsrClient
from amira_asr.audio import MODEL_SAMPLE_RATE
from amira_asr.chunker import Buffer, SampleFormat
from amira_asr.events import Final, Partial, ServerModel
from amira_asr.settings import Settings

_T = TypeVar("_T")


class AsrClient:
    """Talks to one server. Use it as a context manager; its methods may be called from several threads at once."""

    def __init__(self, settings: Settings | None = None) -> None:
        """Prepare; nothing is sent yet."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="amira-asr", daemon=True)
        self._thread.start()
        self._client = self._run(_make(settings))

    def __enter__(self) -> AsrClient:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread. May be called twice."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def is_ready(self) -> bool:
        """Whether the server and all its models are ready; False when there is no server."""
        return self._run(self._client.is_ready())

    def models(self) -> list[ServerModel]:
        """Return the recognisers of the server. Raises AmiraError."""
        return self._run(self._client.models())

    def stream(
        self,
        audio: Iterable[Buffer],
        *,
        sample_rate: int = MODEL_SAMPLE_RATE,
        sample_format: SampleFormat = "s16le",
    ) -> Iterator[Partial | Final]:
        """Recognise audio while it comes; as `AsyncAsrClient.stream`."""
        connection = self._run(self._client.open_stream(sample_rate=sample_rate, sample_format=sample_format))
        try:
            for buffer in audio:
                yield from self._run(connection.send(buffer))
            yield from self._run(connection.finish())
        finally:
            self._run(connection.close())

    def transcribe(
        self, audio: str | Path | Buffer, *, sample_rate: int = MODEL_SAMPLE_RATE, sample_format: SampleFormat = "s16le"
    ) -> Final:
        """Recognise a whole recording; as `AsyncAsrClient.transcribe`."""
        return self._run(self._client.transcribe(audio, sample_rate=sample_rate, sample_format=sample_format))

    def _run(self, call: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


async def _make(settings: Settings | None) -> AsyncAsrClient:
    return AsyncAsrClient(settings)
