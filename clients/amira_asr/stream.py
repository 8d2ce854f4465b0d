"""A stream of audio that outlives the sequences it is sent in.

The server keeps a sequence only as long as its process lives and no longer than its idle limit. When a sequence is
lost, the stream starts another and sends again what the server must hear to go on; nobody above notices more than a
pause.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from amira_asr.buffers import Audio, iterate
from amira_asr.chunker import Chunker
from amira_asr.errors import AmiraError, SequenceLost, ServerError, ServerUnavailable
from amira_asr.events import Final, Partial, Transcript
from amira_asr.history import Chunk, History
from amira_asr.options import Finalize
from amira_asr.sequence import ServerSequence
from amira_asr.timeline import append, before

_FIRST_PAUSE_SECS, _LONGEST_PAUSE_SECS = 0.1, 2.0


class Stream:
    """One stream of audio and its events."""

    def __init__(
        self,
        open_sequence: Callable[[], ServerSequence],
        check_server: Callable[[], Awaitable[None]],
        chunker: Chunker,
        history: History,
        *,
        reconnect_secs: float,
    ) -> None:
        """Prepare.

        Args:
            open_sequence: begins a new sequence.
            check_server: raises AmiraError when no server answers, or one that cannot go on.
            chunker: cuts the audio.
            history: empty.
            reconnect_secs: how long to try to reach a server again that went away.
        """
        self._open_sequence = open_sequence
        self._check_server = check_server
        self._chunker = chunker
        self._history = history
        self._reconnect_secs = reconnect_secs
        self._sequence = open_sequence()
        self._next = 0  # index in the history of the chunk to send next
        self._all_sent = asyncio.Event()
        self._due = asyncio.Event()  # set when there is a response to wait for, or nothing more to send
        self._offset_secs = 0.0  # where the current sequence starts
        self._earlier: Transcript | None = None  # what was recognised before that
        self._latest: Transcript | None = None
        self._lost_at_secs = 0.0

    async def events(self, audio: Audio) -> AsyncGenerator[Partial | Final, None]:
        """Send audio and yield what the server says. Raises AmiraError with what had been recognised."""
        feeding = asyncio.ensure_future(self._feed(audio))
        feeding.add_done_callback(lambda _: self._due.set())
        try:
            while not isinstance(self._latest, Final):
                await self._until_due(feeding)
                try:
                    event = await self._receive()
                except (SequenceLost, ServerUnavailable) as error:
                    await self._start_again(error)
                    continue
                if event is not None:
                    yield event
        except AmiraError as error:
            said = await self._sequence.collect()
            error.partial = self._whole(said) if said else self._latest
            raise
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await self._sequence.close()

    async def _feed(self, audio: Audio) -> None:
        finalize = False
        async with aclosing(iterate(audio)) as buffers:
            async for buffer in buffers:
                if isinstance(buffer, Finalize):
                    finalize = True
                    continue
                for samples in self._chunker.push(buffer):
                    await self._give(Chunk(samples, end=False, finalize=finalize))
                    finalize = False
        *chunks, last = self._chunker.finish()
        for samples in chunks:
            await self._give(Chunk(samples, end=False))
        await self._give(Chunk(last, end=True))

    async def _give(self, chunk: Chunk) -> None:
        """Add a chunk to what is to be sent, and wait until it is: audio is taken no faster than the server goes."""
        self._history.append(chunk)
        self._all_sent.clear()
        self._send()
        await self._all_sent.wait()

    def _send(self) -> None:
        while self._next < len(self._history) and self._sequence.has_room:
            chunk = self._history[self._next]
            self._sequence.send(chunk.samples, end=chunk.end, finalize=chunk.finalize)
            self._next += 1
            self._due.set()
        if self._next == len(self._history):
            self._all_sent.set()

    async def _until_due(self, feeding: asyncio.Future[None]) -> None:
        """Wait until there is a response to wait for. Raises what the audio's iterator raised."""
        while not self._sequence.in_flight:
            self._due.clear()
            if feeding.done():
                feeding.result()
                raise ServerError("the server ended the stream without a final transcript")
            await self._due.wait()

    async def _receive(self) -> Partial | Final | None:
        """Return the next event; None for one that says nothing new, since it repeats what was said before a loss."""
        event = self._whole(await self._sequence.receive())
        self._next -= self._history.trim(event, answered=self._next - self._sequence.in_flight)
        self._send()
        if self._latest is not None and event.audio_secs <= self._latest.audio_secs and not isinstance(event, Final):
            return None
        self._latest = event
        return event

    async def _start_again(self, error: AmiraError) -> None:
        """Open another sequence. Raises the error when that cannot be, or when the last time led nowhere."""
        if self._latest is None or self._latest.audio_secs <= self._lost_at_secs:
            raise error
        self._lost_at_secs = self._latest.audio_secs
        await self._sequence.close()
        await self._until_server_answers(error)
        self._sequence = self._open_sequence()
        self._offset_secs = self._history.start_secs
        self._earlier = before(self._latest, self._offset_secs) if self._offset_secs else None
        self._next = 0
        self._send()

    async def _until_server_answers(self, error: AmiraError) -> None:
        deadline = time.monotonic() + self._reconnect_secs
        pause = _FIRST_PAUSE_SECS
        while True:
            try:
                return await self._check_server()
            except ServerUnavailable:
                if time.monotonic() + pause > deadline:
                    raise error from None
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECS)

    def _whole(self, event: Partial | Final) -> Partial | Final:
        return event if self._earlier is None else append(self._earlier, self._offset_secs, event)
