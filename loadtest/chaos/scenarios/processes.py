"""Faults of the server's processes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from loadtest.chaos.callers import Callers
from loadtest.chaos.site import Site
from loadtest.chaos.stage import DEADLINE_SECS, WATCHDOG_SECS, Outcome, Stage

_FROZEN_SECS = 3.0
# A client gives a server up that does not answer for so long.
_DEADLINE_SECS = 4.0


async def undisturbed(stage: Stage) -> Outcome:
    """Nothing happens: many streams at once against each alone."""

    async def nothing(_callers: Callers) -> None:
        return None

    return await stage.disturbed("undisturbed", nothing, before=await stage.warm(), times=2)


async def server_killed(stage: Stage) -> Outcome:
    """SIGKILL to the server while all speak."""

    async def kill(_callers: Callers) -> None:
        stage.site.kill()

    return await stage.disturbed("server killed", kill)


async def server_killed_again(stage: Stage) -> Outcome:
    """SIGKILL to the server, and once more as soon as streams are being replayed to the new one."""

    async def kill_twice(_callers: Callers) -> None:
        stage.site.kill()
        await stage.site.ready()
        await asyncio.sleep(0.3)
        stage.site.kill()

    return await stage.disturbed("server killed again", kill_twice)


async def one_of_two_killed(stage: Stage) -> Outcome:
    """SIGKILL to one of two servers that callers know; it comes back, and nobody waits for it."""

    async def kill(_callers: Callers) -> None:
        stage.site.kill()

    return await _with_another(stage, "one of two killed", kill)


async def one_of_two_frozen(stage: Stage) -> Outcome:
    """SIGSTOP to one of two servers until the streams have ended, and callers with a deadline of 4 s."""

    async def freeze(callers: Callers) -> None:
        with stage.site.frozen():
            await callers.finished()

    return await _with_another(stage, "one of two frozen", freeze, deadline_secs=_DEADLINE_SECS)


async def _with_another(
    stage: Stage, name: str, fault: Callable[[Callers], Awaitable[None]], *, deadline_secs: float = DEADLINE_SECS
) -> Outcome:
    with tempfile.TemporaryDirectory(dir=stage.folder) as folder:
        async with Site(Path(folder)) as other:
            endpoints = f"{stage.site.endpoint},{other.endpoint}"
            return await stage.disturbed(name, fault, endpoint=endpoints, deadline_secs=deadline_secs)


async def preprocessor_killed(stage: Stage) -> Outcome:
    """SIGKILL to the process of the preprocessor."""
    return await _model_killed(stage, "preprocessor")


async def encoder_killed(stage: Stage) -> Outcome:
    """SIGKILL to the process of the encoder."""
    return await _model_killed(stage, "encoder")


async def decoder_killed(stage: Stage) -> Outcome:
    """SIGKILL to the process of the decoder."""
    return await _model_killed(stage, "decoder")


async def decoder_greedy_killed(stage: Stage) -> Outcome:
    """SIGKILL to the process of prediction network and joint."""
    return await _model_killed(stage, "decoder_greedy")


async def _model_killed(stage: Stage, model: str) -> Outcome:
    async def kill(_callers: Callers) -> None:
        stage.site.model_process(model).kill()

    return await stage.disturbed(f"{model} killed", kill)


async def server_frozen(stage: Stage) -> Outcome:
    """SIGSTOP to all processes of the server for 3 s."""

    async def freeze(_callers: Callers) -> None:
        with stage.site.frozen():
            await asyncio.sleep(_FROZEN_SECS)

    return await stage.disturbed("server frozen", freeze)


async def encoder_frozen(stage: Stage) -> Outcome:
    """SIGSTOP to the process of the encoder for 3 s."""

    async def freeze(_callers: Callers) -> None:
        with stage.site.frozen(stage.site.model_process("encoder")):
            await asyncio.sleep(_FROZEN_SECS)

    return await stage.disturbed("encoder frozen", freeze)


async def encoder_hung(stage: Stage) -> Outcome:
    """SIGSTOP to the process of the encoder for good: the launcher's watchdog has to notice it."""

    async def freeze(_callers: Callers) -> str:
        stage.site.model_process("encoder").suspend()
        return f"AMIRA_WATCHDOG_SECS={WATCHDOG_SECS:g}"

    outcome = await stage.disturbed("encoder hung", freeze)
    if not outcome.restarts:
        outcome.problems.append("the launcher did not notice")
    return outcome
