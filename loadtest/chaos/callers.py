"""Callers who speak at the pace of speech through the client library, and what they hear back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType

from amira_asr import AsyncAsrClient, Final, Settings
from amira_asr.audio import MODEL_SAMPLE_RATE, Float32
from amira_asr.errors import AmiraError

_BUFFER_SECS = 0.1
# Callers do not begin in the same moment.
_STAGGER_SECS = 1.0


@dataclass
class Call:
    """One stream, or one whole recording.

    Attributes:
        recording: index of what is said.
        answers: (when, how many seconds of audio the answer covers), monotonic clock; a recording begins with none.
        final: the last answer; None while there is none.
        error: why the stream ended without one.
    """

    recording: int
    answers: list[tuple[float, float]] = field(default_factory=list)
    final: Final | None = None
    error: AmiraError | None = None

    @property
    def over(self) -> bool:
        """Whether the stream has ended, in one way or the other."""
        return self.final is not None or self.error is not None

    def longest_silence_secs(self, since: float) -> float:
        """Return the longest time without news from `since` on."""
        moments = [since, *(at for at, _ in self.answers if at > since)]
        return max(later - earlier for earlier, later in pairwise(moments))


class Callers:
    """Some streams at once, of one client. A context manager: leaving it ends those that still run."""

    def __init__(
        self,
        settings: Settings,
        recordings: Sequence[Float32],
        count: int,
        *,
        speed: float = 1.0,
        whole: bool = False,
        seed: int = 0,
    ) -> None:
        """Prepare.

        Args:
            settings: of the client.
            recordings: [samples] float32 each, 16 kHz; callers take them in turn.
            count: streams.
            speed: 1 for the pace of speech, 2 for twice that.
            whole: they do not speak, but send whole recordings.
            seed: of when each of them begins.
        """
        self.calls = [Call(index % len(recordings)) for index in range(count)]
        self._settings, self._recordings, self._speed, self._whole = settings, recordings, speed, whole
        self._audio_secs = sum(len(recordings[call.recording]) for call in self.calls) / MODEL_SAMPLE_RATE
        self._source = random.Random(seed)
        self._news = asyncio.Condition()
        self._client: AsyncAsrClient | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Callers:
        """Begin all streams."""
        self._client = AsyncAsrClient(self._settings)
        self._tasks = [asyncio.create_task(self._call(self._client, call)) for call in self.calls]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what still runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    async def heard(self, share: float) -> None:
        """Wait until that share of all the audio has been answered, or all streams are over."""
        async with self._news:
            await self._news.wait_for(
                lambda: self._answered_secs() >= share * self._audio_secs or all(call.over for call in self.calls)
            )

    async def finished(self) -> list[Call]:
        """Wait for all streams to end."""
        await asyncio.gather(*self._tasks)
        return self.calls

    def _answered_secs(self) -> float:
        return sum(call.answers[-1][1] for call in self.calls if call.answers)

    async def _call(self, client: AsyncAsrClient, call: Call) -> None:
        if not self._whole:  # recordings are sent at once: there is nothing to lose of one that was not sent
            await asyncio.sleep(self._source.uniform(0, _STAGGER_SECS) / self._speed)
        audio = self._recordings[call.recording]
        try:
            events = self._transcribe(client, call, audio) if self._whole else client.stream(self._speak(audio))
            async for event in events:
                call.answers.append((time.monotonic(), event.audio_secs))
                if isinstance(event, Final):
                    call.final = event
                async with self._news:
                    self._news.notify_all()
        except AmiraError as error:
            call.error = error
            async with self._news:
                self._news.notify_all()

    async def _transcribe(self, client: AsyncAsrClient, call: Call, audio: Float32) -> AsyncIterator[Final]:
        """Yield what is heard of a whole recording."""
        call.answers.append((time.monotonic(), 0.0))
        yield await client.transcribe(audio)

    async def _speak(self, audio: Float32) -> AsyncIterator[Float32]:
        """Yield buffers as they are spoken; after a stall those that were meanwhile come at once."""
        size = int(_BUFFER_SECS * MODEL_SAMPLE_RATE)
        began = time.monotonic()
        for start in range(0, len(audio), size):
            spoken = (start + size) / MODEL_SAMPLE_RATE / self._speed
            await asyncio.sleep(max(0.0, began + spoken - time.monotonic()))
            yield audio[start : start + size]
