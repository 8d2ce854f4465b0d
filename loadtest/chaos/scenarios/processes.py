"""Faults of the server's processes."""

from __future__ import annotations

import asyncio

from loadtest.chaos.callers import Callers
from loadtest.chaos.stage import Outcome, Stage

_FROZEN_SECS = 3.0


async def undisturbed(stage: Stage) -> Outcome:
    """Nothing happens: many streams at once against each alone."""

    async def nothing(_callers: Callers) -> None:
        return None

    return await stage.disturbed("undisturbed", nothing)


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


async def preprocessor_killed(stage: Stage) -> Outcome:
    """SIGKILL to the process of the preprocessor."""
    return await _model_killed(stage, "preprocessor")


async def encoder_killed(stage: Stage) -> Outcome:
    """SIGKILL to the process of the encoder."""
    return await _model_killed(stage, "encoder")


async def decoder_killed(stage: Stage) -> Outcome:
    """SIGKILL to the process of the decoder."""
    return await _model_killed(stage, "decoder")


async def decoder_joint_killed(stage: Stage) -> Outcome:
    """SIGKILL to the process of prediction network and joint."""
    return await _model_killed(stage, "decoder_joint")


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
