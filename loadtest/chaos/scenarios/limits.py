"""What runs out: places for streams, shared memory, patience with streams that nobody ends."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from loadtest.chaos.callers import Callers
from loadtest.chaos.raw_calls import abandon, knock
from loadtest.chaos.site import Site, may_mount
from loadtest.chaos.stage import Outcome, Stage

_ABANDONING = 10_000


async def places_exhausted(stage: Stage) -> Outcome:
    """Twice as many streams as there are places knock at a full server."""
    with tempfile.TemporaryDirectory(dir=stage.folder) as folder:
        async with Site(Path(folder), max_concurrent_streams=stage.streams) as site:
            problems = []

            async def fill(callers: Callers) -> str:
                found = await knock(site.endpoint, stage.chunk, 2 * stage.streams)
                free = sum(call.over or not call.answers for call in callers.calls)
                if found.admitted and not free:
                    problems.append(f"{found.admitted} let in although full")
                problems.extend(found.others)
                return f"{found.refused} refused within {found.longest_secs * 1e3:.0f} ms, {found.admitted} let in"

            outcome = await stage.disturbed("places exhausted", fill, site=site, before=await stage.warm(site))
            outcome.problems += problems
            return outcome


async def shared_memory_full(stage: Stage) -> Outcome:
    """The shared memory of the server has no free byte for 3 s."""
    if not may_mount():
        return Outcome("shared memory full", note="not played: it needs the right to mount a /dev/shm of its own")
    with tempfile.TemporaryDirectory(dir=stage.folder) as folder:
        async with Site(Path(folder), shm_mb=64) as site:

            async def fill(_callers: Callers) -> str:
                with site.full_shared_memory() as size:
                    await asyncio.sleep(3)
                return f"{size / 1e6:.0f} MB were free"

            return await stage.disturbed("shared memory full", fill, site=site, before=await stage.warm(site))


async def streams_abandoned(stage: Stage) -> Outcome:
    """10,000 short streams, every second one never ended, while others speak."""
    with tempfile.TemporaryDirectory(dir=stage.folder) as folder:
        async with Site(Path(folder), max_concurrent_streams=2000, stream_timeout_secs=3) as site:
            chunk = stage.chunk
            await abandon(site.endpoint, chunk, _ABANDONING // 10)  # memory is what so many at once need
            before = await site.footprint()
            began = time.monotonic()

            async def leave(_callers: Callers) -> str:
                await abandon(site.endpoint, chunk, _ABANDONING)
                return f"{_ABANDONING} streams in {time.monotonic() - began:.0f} s"

            return await stage.disturbed("streams abandoned", leave, site=site, before=before)
