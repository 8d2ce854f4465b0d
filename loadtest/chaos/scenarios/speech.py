"""Other ways to speak, on a server that is killed: for long, and in whole recordings."""

from __future__ import annotations

import asyncio
import gc

from amira_asr.history import History
from loadtest.chaos.callers import Callers
from loadtest.chaos.speech import Script, monologues
from loadtest.chaos.stage import Outcome, Stage

_MONOLOGUE_SPEED = 8.0
# Of the callers of other scenarios: each says ten times as much.
_MONOLOGUE_SHARE = 0.2


async def long_streams_killed(stage: Stage) -> Outcome:
    """SIGKILL to the server, twice, under streams of 60 to 120 s without an endpoint: more than clients keep."""
    script = await Script.heard_in_peace(stage.site.endpoint, monologues())
    kept = [0.0]

    async def kill_twice(callers: Callers) -> str:
        kept.append(_kept_mb())
        stage.site.kill()
        await stage.site.ready()
        await callers.heard(0.8)
        kept.append(_kept_mb())
        stage.site.kill()
        return f"a client keeps at most {max(kept):.1f} MB of a stream"

    callers = max(len(script.recordings), round(_MONOLOGUE_SHARE * stage.streams))
    name, speed = "long streams killed", _MONOLOGUE_SPEED * stage.speed
    return await stage.disturbed(name, kill_twice, script=script, callers=callers, speed=speed, after_share=0.5)


def _kept_mb() -> float:
    """Return how much audio the client keeps of the stream of which it keeps most, to send it again."""
    streams = [found for found in gc.get_objects() if isinstance(found, History)]
    sizes = [sum(stream[index].samples.nbytes for index in range(len(stream))) for stream in streams]
    return max(sizes, default=0) / 1e6


async def recordings_killed(stage: Stage) -> Outcome:
    """SIGKILL to the server while it recognises whole recordings, and once more when it is back."""
    script = await Script.heard_in_peace(stage.site.endpoint, stage.script.recordings, whole=True)

    async def kill_twice(_callers: Callers) -> None:
        stage.site.kill()
        await stage.site.ready()
        await asyncio.sleep(0.5)
        stage.site.kill()

    return await stage.disturbed("recordings killed", kill_twice, script=script, after_share=0.1)
