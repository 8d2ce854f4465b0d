"""Whatever the caller has audio in, as asynchronous buffers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import TypeAlias

import numpy as np

from amira_asr.chunker import Buffer
from amira_asr.options import Finalize

Audio: TypeAlias = AsyncIterable[Buffer | Finalize] | Iterable[Buffer | Finalize]


async def iterate(audio: Audio) -> AsyncGenerator[Buffer | Finalize, None]:
    """Yield the buffers of any iterable; a single buffer counts as an iterable of one.

    A plain iterable may block, as a microphone does: it runs in a thread of its own, at most one buffer ahead. The
    thread is a daemon, since nothing can wake an iterator that waits for audio which never comes.
    """
    if isinstance(audio, AsyncIterable):
        async for buffer in audio:
            yield buffer
        return
    buffers = [audio] if isinstance(audio, (bytes, bytearray, memoryview, np.ndarray)) else audio
    loop = asyncio.get_running_loop()
    handed: asyncio.Queue[Buffer | Finalize | BaseException | None] = asyncio.Queue()
    room = threading.Semaphore(1)
    given_up = threading.Event()

    def pull() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            try:
                for buffer in buffers:
                    room.acquire()
                    if given_up.is_set():
                        return
                    loop.call_soon_threadsafe(handed.put_nowait, buffer)
                loop.call_soon_threadsafe(handed.put_nowait, None)
            except Exception as error:  # raised again where the buffers are used
                loop.call_soon_threadsafe(handed.put_nowait, error)

    threading.Thread(target=pull, name="amira-asr audio", daemon=True).start()
    try:
        while (item := await handed.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item
    finally:
        given_up.set()
        room.release()
