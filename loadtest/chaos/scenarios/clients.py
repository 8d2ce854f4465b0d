"""Faults of the callers' side."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

from amira_asr import Settings
from amira_asr.audio import Float32
from loadtest.chaos.callers import Call, Callers
from loadtest.chaos.raw_calls import cut_off
from loadtest.chaos.stage import Outcome, Stage, client_settings

# Longer than the server waits for a silent stream.
_FROZEN_SECS = 9.0
_SPOKEN_SECS = 6.0
_CUTTING_SECS = 8.0
_TIMES = 2


async def client_frozen(stage: Stage) -> Outcome:
    """SIGSTOP to the client's process for longer than the server keeps a silent stream."""
    outcome = Outcome("client frozen", before=await stage.warm())
    began = time.monotonic()
    for _ in range(_TIMES):
        calls, fault_at = await _frozen_calls(stage)
        outcome.note_calls(calls, stage.script.expected, fault_at)
        outcome.after_once, outcome.after = outcome.after, await stage.site.settled()
    outcome.seconds = time.monotonic() - began
    outcome.judge()
    return outcome


async def _frozen_calls(stage: Stage) -> tuple[list[Call], float]:
    """Return the calls of a client that is frozen for a while, and when that was."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    settings = client_settings(stage.site.endpoint)
    process = context.Process(
        target=_call_and_send,
        args=(sending, settings, stage.script.recordings, stage.streams, stage.speed),
        daemon=True,
    )
    process.start()
    sending.close()
    try:
        await asyncio.to_thread(receiving.recv)  # they begin to speak
        await asyncio.sleep(_SPOKEN_SECS / stage.speed)
        fault_at = time.monotonic()
        os.kill(process.pid or 0, signal.SIGSTOP)
        await asyncio.sleep(_FROZEN_SECS)
        os.kill(process.pid or 0, signal.SIGCONT)
        calls: list[Call] = await asyncio.to_thread(receiving.recv)
    finally:
        process.kill()
        process.join()
    return calls, fault_at


def _call_and_send(
    pipe: Connection, settings: Settings, recordings: Sequence[Float32], count: int, speed: float
) -> None:
    """Run callers in a process of their own."""

    async def run() -> list[Call]:
        async with Callers(settings, recordings, count, speed=speed) as callers:
            pipe.send(None)
            return await callers.finished()

    pipe.send(asyncio.run(run()))


async def clients_cut_off(stage: Stage) -> Outcome:
    """Other clients cancel their gRPC streams while requests are being answered, all the time."""
    chunk, seconds = stage.chunk, _CUTTING_SECS / stage.speed
    await stage.warm()
    await cut_off(stage.site.endpoint, chunk, seconds)  # memory is what so many at once need
    before, crashes = await stage.site.footprint(), await stage.site.restarts()

    async def cut(_callers: Callers) -> str:
        count = await cut_off(stage.site.endpoint, chunk, seconds)
        return f"{count} streams cancelled, {await stage.site.restarts() - crashes} crashes"

    return await stage.disturbed("clients cut off", cut, before=before)
