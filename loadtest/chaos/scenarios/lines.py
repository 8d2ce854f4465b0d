"""Faults of the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from loadtest.chaos.callers import Callers
from loadtest.chaos.certificates import temporary_tls
from loadtest.chaos.fault_proxy import GOOD_LINE, FaultProxy, Line
from loadtest.chaos.stage import Outcome, Stage

# 16 kHz, FP32.
_AUDIO_BYTES_PER_SEC = 64_000
# The server lives on, and what it kept of the first time has to do for the second.
_TIMES = 2


async def _on_line(stage: Stage, name: str, fault: Callable[[FaultProxy], Awaitable[str | None]]) -> Outcome:
    async with FaultProxy(stage.site.endpoint) as proxy:
        before = await stage.warm()
        return await stage.disturbed(
            name, lambda _callers: fault(proxy), endpoint=proxy.endpoint, before=before, times=_TIMES
        )


async def connection_cut(stage: Stage) -> Outcome:
    """One TCP reset, behind one address, as load balancers do it."""

    async def cut(proxy: FaultProxy) -> str:
        return f"{proxy.cut()} connections cut"

    return await _on_line(stage, "connection cut", cut)


async def connection_away(stage: Stage) -> Outcome:
    """A TCP reset, and for a second nobody is behind the one address."""

    async def cut(proxy: FaultProxy) -> str:
        count = proxy.cut()
        proxy.refusing = True
        await asyncio.sleep(1)
        proxy.refusing = False
        return f"{count} connections cut, new ones refused for 1 s"

    return await _on_line(stage, "connection away", cut)


async def connection_cut_again(stage: Stage) -> Outcome:
    """TCP resets, three times, a second apart."""

    async def cut(proxy: FaultProxy) -> str:
        count = 0
        for _ in range(3):
            count += proxy.cut()
            await asyncio.sleep(1)
        return f"{count} connections cut"

    return await _on_line(stage, "connection cut again", cut)


async def connection_slow(stage: Stage) -> Outcome:
    """300 ms more in each direction, for the rest of the streams."""

    async def delay(proxy: FaultProxy) -> None:
        proxy.line = Line(delay_secs=0.3)

    return await _on_line(stage, "connection slow", delay)


async def connection_narrow(stage: Stage) -> Outcome:
    """Half of the bytes a second that the audio needs, for 5 s."""

    async def throttle(proxy: FaultProxy) -> None:
        proxy.line = Line(bytes_per_sec=0.5 * _AUDIO_BYTES_PER_SEC * stage.streams * stage.speed)
        await asyncio.sleep(5)
        proxy.line = GOOD_LINE

    return await _on_line(stage, "connection narrow", throttle)


async def connection_silent(stage: Stage) -> Outcome:
    """Nothing arrives for 3 s, then the connection breaks."""

    async def silence(proxy: FaultProxy) -> None:
        proxy.line = Line(silent=True)
        await asyncio.sleep(3)
        proxy.cut()
        proxy.line = GOOD_LINE

    return await _on_line(stage, "connection silent", silence)


async def audio_damaged(stage: Stage) -> Outcome:
    """Single bits of what clients send arrive wrong, about five a second, for 3 s, on a line without TLS."""
    async with FaultProxy(stage.site.endpoint) as line:

        async def damage(_callers: Callers) -> str:
            # A chunk takes three pieces.
            line.line = Line(damage_there=5 / (3 / 0.56 * stage.streams * stage.speed))
            await asyncio.sleep(3)
            line.line = GOOD_LINE
            return f"{line.damaged} bits turned over"

        before = await stage.warm()
        return await stage.disturbed(
            "audio damaged", damage, endpoint=line.endpoint, before=before, times=_TIMES, may_refuse=True
        )


async def connection_damaged(stage: Stage) -> Outcome:
    """Single bits arrive wrong, about one a second, for 3 s, on a line with TLS: nothing else would notice them all."""
    server_side, client_side = temporary_tls()
    async with (
        FaultProxy(stage.site.endpoint, accept_tls=server_side) as far_end,
        FaultProxy(far_end.endpoint) as line,
        FaultProxy(line.endpoint, connect_tls=client_side) as near_end,
    ):

        async def damage(_callers: Callers) -> str:
            # A stream makes about 20 pieces a second, both directions together.
            line.line = Line(damage=1 / (20 * stage.streams * stage.speed))
            await asyncio.sleep(3)
            line.line = GOOD_LINE
            return f"{line.damaged} bits turned over"

        before = await stage.warm()
        return await stage.disturbed(
            "connection damaged", damage, endpoint=near_end.endpoint, before=before, times=_TIMES
        )
