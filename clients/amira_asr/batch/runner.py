"""Recognises the items of a batch, several at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from amira_asr.aio import AsyncAsrClient
from amira_asr.audio import MODEL_SAMPLE_RATE
from amira_asr.batch.items import Item
from amira_asr.batch.results import Results
from amira_asr.errors import AmiraError, ServerUnavailable
from amira_asr.events import Final
from amira_asr.options import NO_OPTIONS, DecodingOptions
from amira_asr.settings import Settings


@dataclass
class Report:
    """How a run went so far.

    Attributes:
        items: to be done in this run.
        done: of these.
        failed: items that failed, with the reason.
        audio_secs: of those that are done.
        began: `time.monotonic()` at the start.
        stopped_by: the error for which the run ended early; None when it did not.
    """

    items: int
    done: int = 0
    failed: list[tuple[Item, str]] = field(default_factory=list)
    audio_secs: float = 0.0
    began: float = field(default_factory=time.monotonic)
    stopped_by: AmiraError | None = None

    @property
    def speed(self) -> float:
        """Seconds of audio a second."""
        return self.audio_secs / max(1e-9, time.monotonic() - self.began)

    @property
    def left(self) -> int:
        """How many are neither done nor failed."""
        return self.items - self.done - len(self.failed)


async def run_batch(
    settings: Settings,
    items: Sequence[Item],
    results: Results,
    *,
    workers: int,
    retries: int,
    options: DecodingOptions = NO_OPTIONS,
    progress: Callable[[Item, Report], None] = lambda _item, _report: None,
) -> Report:
    """Recognise what is not done yet.

    A file that fails does not stop the others, unless no server answers any more after all retries.

    Args:
        settings: of the client.
        items: all of the batch.
        results: entered; they say what is done.
        workers: items at a time.
        retries: of an item, after errors that may pass, besides those of the client; the waits grow up to 30 s.
        options: what to ask of the decoder.
        progress: called after every item.

    Raises:
        OSError: a result cannot be written.
    """
    todo = [item for item in items if item.key not in results.done]
    report = Report(len(todo))
    async with AsyncAsrClient(settings) as client:

        async def recognise(item: Item) -> None:
            samples = await asyncio.to_thread(item.load)
            retrying = AsyncRetrying(
                retry=retry_if_exception(lambda error: isinstance(error, AmiraError) and error.retryable),
                stop=stop_after_attempt(retries + 1),
                wait=wait_random_exponential(multiplier=1.0, max=30.0),
                reraise=True,
            )
            final: Final = await retrying(client.transcribe, samples, sample_rate=MODEL_SAMPLE_RATE, options=options)
            duration_secs = len(samples) / MODEL_SAMPLE_RATE
            results.add(item, final, duration_secs)
            report.done += 1
            report.audio_secs += duration_secs

        async def work(waiting: Iterator[Item]) -> None:
            for item in waiting:
                if report.stopped_by is not None:
                    return
                try:
                    await recognise(item)
                except ServerUnavailable as error:
                    report.stopped_by = error
                    return
                except AmiraError as error:
                    reason = str(error).removeprefix(f"{item.path}: ")
                    report.failed.append((item, reason))
                    results.add_failure(item, reason)
                progress(item, report)

        waiting = iter(todo)
        tasks = [asyncio.ensure_future(work(waiting)) for _ in range(workers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return report
