"""A stream of audio that outlives the sequences it is sent in.

The server keeps a sequence only as long as its process lives and no longer than its idle limit. When a sequence is
lost, the stream starts another, on this server or on the next, and sends again what it must hear to go on; nobody above
notices more than a pause.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from tenacity import AsyncRetrying

from amira_asr.buffers import Audio, iterate
from amira_asr.chunker import Chunker
from amira_asr.errors import AmiraError, ServerError
from amira_asr.events import Final, Partial, Transcript
from amira_asr.history import Chunk, History
from amira_asr.options import Finalize
from amira_asr.resumption import Resumption
from amira_asr.retrying import may_be_damage
from amira_asr.sequence import ServerSequence

# Times are FP32 in the server.
_SAME_SECS = 1e-3


@dataclass(frozen=True)
class Retries:
    """When to try again, and how often.

    Attributes:
        opening: makes the policy for the first sequence of a stream.
        going_on: makes the policy for the one after so many losses in a row; the latest counts as the first try.
        losses: so many in a row without progress between them are borne; audio that ends servers must not end them all.
    """

    opening: Callable[[], AsyncRetrying]
    going_on: Callable[[int], AsyncRetrying]
    losses: int


class Stream:
    """One stream of audio and its events."""

    def __init__(
        self,
        open_sequence: Callable[[], Awaitable[ServerSequence]],
        retries: Retries,
        chunker: Chunker,
        history: History,
    ) -> None:
        """Prepare.

        Args:
            open_sequence: begins a new sequence on a server that can go on; raises AmiraError when there is none.
            retries: how losses are borne.
            chunker: cuts the audio.
            history: empty.
        """
        self._open_sequence = open_sequence
        self._retries = retries
        self._chunker = chunker
        self._history = history
        self._sequence: ServerSequence | None = None
        self._closing: set[asyncio.Task[None]] = set()  # sequences that are done with
        self._next = 0  # index in the history of the chunk to send next
        self._all_sent = asyncio.Event()
        self._due = asyncio.Event()  # set when there is something to do, or nothing more to send
        self._resumption: Resumption | None = None  # where the sequence starts after the stream did
        self._latest: Transcript | None = None
        self._reported_words = 0  # of segments that have been yielded
        self._losses: list[AmiraError] = []  # in a row, without progress between them
        self._lost_at_secs = 0.0

    async def events(self, audio: Audio) -> AsyncGenerator[Partial | Final, None]:
        """Send audio and yield what the server says. Raises AmiraError with what had been recognised."""
        feeding = asyncio.ensure_future(self._feed(audio))
        feeding.add_done_callback(lambda _: self._due.set())
        try:
            await self._until(lambda: len(self._history) > 0, feeding)
            event = await self._open(self._retries.opening())
            while True:
                if (news := self._take(event)) is not None:
                    yield news
                if isinstance(event, Final):
                    return
                event = await self._receive(feeding)
        except AmiraError as error:
            error.partial = await self._everything()
            raise
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            self._leave_sequence()
            await asyncio.gather(*self._closing, return_exceptions=True)

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
        sequence = self._sequence
        while sequence is not None and self._next < len(self._history) and sequence.has_room:
            chunk = self._history[self._next]
            sequence.send(chunk.samples, end=chunk.end, finalize=chunk.finalize)
            self._next += 1
        if sequence is not None and self._next == len(self._history):
            self._all_sent.set()
        self._due.set()

    async def _until(self, condition: Callable[[], bool], feeding: asyncio.Future[None]) -> None:
        """Wait until there is something to do. Raises what the audio's iterator raised."""
        while not condition():
            self._due.clear()
            if feeding.done():
                feeding.result()
                raise ServerError("the server ended the stream without a final transcript")
            await self._due.wait()

    async def _open(self, policy: AsyncRetrying, loss: AmiraError | None = None) -> Partial | Final:
        """Open a sequence, send what is kept, and return its first response. A `loss` counts as the first try."""
        tries = itertools.count()

        async def once() -> Partial | Final:
            if next(tries) == 0 and loss is not None:
                raise loss
            self._leave_sequence()
            self._sequence = await self._open_sequence()
            start_secs = self._history.start_secs
            if self._latest is not None and start_secs:
                self._resumption = Resumption.at_loss(self._latest, start_secs)
            self._next = 0
            self._send()
            return await self._sequence.receive()

        return await policy(once)

    async def _receive(self, feeding: asyncio.Future[None]) -> Partial | Final:
        """Return the next response, of another sequence when this one is lost."""
        if self._sequence is None or self._latest is None:
            raise RuntimeError("the stream has not been opened")
        sequence, reached_secs = self._sequence, self._latest.audio_secs
        await self._until(lambda: sequence.in_flight > 0, feeding)
        try:
            return await sequence.receive()
        except AmiraError as error:
            if reached_secs > self._lost_at_secs:
                self._losses.clear()
            self._losses.append(error)
            self._lost_at_secs = reached_secs
            if len(self._losses) > self._retries.losses or sum(map(may_be_damage, self._losses)) > 1:
                raise
            return await self._open(self._retries.going_on(len(self._losses)), error)

    def _take(self, event: Partial | Final) -> Partial | Final | None:
        """Send what there is room for now; return the event, or None for one that only repeats what was said."""
        event = self._whole(event)
        in_flight = self._sequence.in_flight if self._sequence is not None else 0
        self._next -= self._history.trim(event, answered=self._next - in_flight)
        self._send()
        repeated = self._latest is not None and event.audio_secs <= self._latest.audio_secs + _SAME_SECS
        if repeated and not isinstance(event, Final):
            return None
        self._latest = event
        if event.segments:
            self._reported_words = len(event.words)
        return event

    async def _everything(self) -> Transcript | None:
        """End the stream; return all that was recognised."""
        said = None if self._sequence is None else await self._sequence.collect()
        if said is None:
            return self._latest
        whole = self._whole(said)
        return whole if self._latest is None or whole.audio_secs > self._latest.audio_secs else self._latest

    def _whole(self, event: Partial | Final) -> Partial | Final:
        return event if self._resumption is None else self._resumption.apply(event, self._reported_words)

    def _leave_sequence(self) -> None:
        """Close the sequence. Nobody waits for a server that may be frozen."""
        if self._sequence is not None:
            task = asyncio.ensure_future(self._sequence.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self._sequence = None
