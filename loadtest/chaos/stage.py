"""What every scenario needs: the server, what callers say, and what was heard of it in peace."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from amira_asr import Final, Settings
from amira_asr.audio import Float32
from loadtest.chaos.callers import Call, Callers
from loadtest.chaos.comparison import Difference, compare, identical
from loadtest.chaos.health import HealthCheck
from loadtest.chaos.site import Footprint, Site
from loadtest.chaos.speech import Script

# What a busy machine keeps, too; faults are noticed by broken connections long before, and servers are back sooner.
DEADLINE_SECS = 30.0
_RESUME_SECS = 180.0
# Of the shared server. Longer than what other scenarios freeze for a moment.
WATCHDOG_SECS = 8.0
_MOST_SEQUENCES = 4
_CHUNK_SAMPLES = 8960
# Metrics of backends are that old at most.
_PUBLISHED_SECS = 2.0
# Memory and handles that a warm server may hold more after a scenario: allocators and gRPC keep what they once needed.
ALLOWED_MB = 64.0
ALLOWED_HANDLES = 64
# The same, when a scenario is played once more: what it needs has been needed before. A piece of 29 MB comes and goes
# in Triton while nobody speaks.
ALLOWED_AGAIN_MB = 40.0
# A server is warm when a round of warming up adds no more than this; it never is when it leaks.
_WARM_MB, _WARM_ROUNDS = 8.0, 8


@dataclass
class Outcome:
    """What a scenario did to its streams.

    Attributes:
        scenario: its name.
        streams: callers.
        identical: streams with the tokens and times of an undisturbed run.
        difference: words lost, doubled and changed in streams that ended well.
        failed: streams that ended with an error, by error.
        recovery_secs: longest time without news since the fault, of each stream that was speaking; a chunk's, or less
            than that at more speed, when nothing held it up.
        before: what the server held when it was warm; None where it is another process afterwards.
        after_once: what it held when a scenario that is played more than once had been played once.
        after: what it held in the end.
        restarts: of the server by its launcher, as the metric `amira_server_restarts` counts them.
        unready_secs: for how long a load balancer saw it not ready.
        seconds: the whole scenario took.
        note: what else there is to say.
        problems: what must not be; empty when all is well.
    """

    scenario: str
    streams: int = 0
    identical: int = 0
    difference: Difference = field(default_factory=Difference)
    failed: dict[str, int] = field(default_factory=dict)
    recovery_secs: list[float] = field(default_factory=list)
    before: Footprint | None = None
    after_once: Footprint | None = None
    after: Footprint | None = None
    restarts: int = 0
    unready_secs: float = 0.0
    seconds: float = 0.0
    note: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def recovery_median(self) -> float | None:
        """Of the streams, seconds."""
        return statistics.median(self.recovery_secs) if self.recovery_secs else None

    def judge(self, *, may_refuse: bool = False) -> None:
        """Add what must not be: words that differ, streams that failed, what the server did not give back.

        Args:
            may_refuse: a stream may end with an error that says why; words that differ are wrong all the same.
        """
        found = self.problems
        different = self.streams - self.identical - sum(self.failed.values())
        if different:
            found.append(f"{different} streams differ")
        if not may_refuse:
            found += [f"{count} streams failed: {reason}" for reason, count in self.failed.items()]
        if self.restarts and not self.unready_secs:
            found.append("it was started anew, and ready all the while")
        if self.after is not None and self.after.live_streams:
            found.append(f"{self.after.live_streams} streams still hold a place")
        if self.before is not None and self.after is not None and not self.restarts:
            most = max(self.before.private_mb, self.after_once.private_mb) if self.after_once is not None else math.inf
            if self.after.private_mb - self.before.private_mb > ALLOWED_MB:
                found.append(f"memory grew from {self.before.private_mb:.0f} to {self.after.private_mb:.0f} MB")
            if self.after.private_mb - most > ALLOWED_AGAIN_MB:
                found.append(f"played again, it grew from {most:.0f} to {self.after.private_mb:.0f} MB")
            if self.after.handles - self.before.handles > ALLOWED_HANDLES:
                found.append(f"handles grew from {self.before.handles} to {self.after.handles}")

    def figures(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = asdict(self)
        recovery = values.pop("recovery_secs")
        values["recovery_median_secs"] = None if not recovery else round(statistics.median(recovery), 2)
        values["recovery_longest_secs"] = None if not recovery else round(max(recovery), 2)
        values["unready_secs"] = round(self.unready_secs, 1)
        values["seconds"] = round(self.seconds, 1)
        return values

    def note_calls(self, calls: Sequence[Call], expected: Sequence[Final], fault_at: float | None) -> None:
        """Add streams that are over."""
        for call in calls:
            self.streams += 1
            if call.final is None:
                reason = str(call.error) if call.error is not None else "no end"
                kind = f"{type(call.error).__name__}: {reason}"[:200]
                self.failed[kind] = self.failed.get(kind, 0) + 1
                continue
            wanted = expected[call.recording]
            self.identical += identical(wanted, call.final)
            self.difference += compare(wanted.text.split(), call.final.text.split())
            if fault_at is not None and call.answers[0][0] < fault_at < call.answers[-1][0]:
                self.recovery_secs.append(call.longest_silence_secs(fault_at))


def client_settings(endpoint: str, deadline_secs: float = DEADLINE_SECS) -> Settings:
    """Return the settings of callers."""
    return Settings(triton_endpoint=endpoint, inference_timeout_secs=deadline_secs, resume_timeout_secs=_RESUME_SECS)


@dataclass
class Stage:
    """Where scenarios play.

    Attributes:
        folder: for files of servers.
        site: the server that scenarios share.
        script: what callers say, if a scenario has none of its own.
        streams: callers of a scenario.
        speed: of their speech.
    """

    folder: Path
    site: Site
    script: Script
    streams: int
    speed: float
    _warm: dict[int, Footprint] = field(default_factory=dict)  # what servers hold that are warm, by process ID

    @property
    def chunk(self) -> Float32:
        """One chunk of speech, [samples]."""
        return self.script.recordings[0][:_CHUNK_SAMPLES]

    async def warm(self, site: Site | None = None) -> Footprint:
        """Return what a server holds when it is warm, the shared one if no other is given.

        Streams are heard at full speed until that adds nothing. They are as many as there may be at once: cut off three
        times, a stream leaves three sequences. A process that is warm is not warmed up again.

        Raises:
            RuntimeError: it does not stop growing.
        """
        site = site or self.site
        if (known := self._warm.get(site.pid)) is not None:
            return known
        settings = client_settings(site.endpoint)
        held: list[Footprint] = []
        for _ in range(_WARM_ROUNDS):
            async with Callers(settings, self.script.recordings, _MOST_SEQUENCES * self.streams, speed=50) as callers:
                await callers.finished()
            most = max((footprint.private_mb for footprint in held), default=0.0)
            held.append(await site.footprint())
            if held[-1].private_mb <= most + _WARM_MB:  # allocators give some back now and then
                self._warm[site.pid] = warm = max(held, key=lambda footprint: footprint.private_mb)
                return warm
        grown = ", ".join(f"{footprint.private_mb:.0f}" for footprint in held)
        raise RuntimeError(f"the server never stops growing: {grown} MB after each {len(callers.calls)} streams")

    async def disturbed(
        self,
        name: str,
        fault: Callable[[Callers], Awaitable[str | None]] | Callable[[Callers], Awaitable[None]],
        *,
        site: Site | None = None,
        endpoint: str = "",
        after_share: float = 0.3,
        before: Footprint | None = None,
        deadline_secs: float = DEADLINE_SECS,
        script: Script | None = None,
        callers: int | None = None,
        speed: float | None = None,
        may_refuse: bool = False,
        times: int = 1,
    ) -> Outcome:
        """Let callers speak, do something to them meanwhile, and see what they heard in the end.

        Args:
            name: of the scenario.
            fault: what to do; returns a note for the report, if any.
            site: the server, if it is another than the shared one.
            endpoint: where callers connect, if it is not the server itself.
            before: what the server held when it was warm; None where it will be another process.
            after_share: of the audio has been answered when the fault begins.
            deadline_secs: of the clients.
            script: what they say, if it is something else.
            callers: how many, if not as many as always.
            speed: of their speech, if not that of all.
            may_refuse: as `Outcome.judge`.
            times: that all of it is played.
        """
        site, script = site or self.site, script or self.script
        outcome = Outcome(name, before=before)
        began, restarts = time.monotonic(), await site.restarts()
        settings = client_settings(endpoint or site.endpoint, deadline_secs)
        with HealthCheck(site.ready_url) as health:
            count, pace = callers or self.streams, speed or self.speed
            for _ in range(times):
                async with Callers(settings, script.recordings, count, speed=pace, whole=script.whole) as speaking:
                    await speaking.heard(after_share)
                    fault_at = time.monotonic()
                    outcome.note = await fault(speaking) or ""
                    outcome.note_calls(await speaking.finished(), script.expected, fault_at)
                outcome.after_once, outcome.after = outcome.after, await site.settled()
        if health.unready_secs:
            await asyncio.sleep(_PUBLISHED_SECS)
        outcome.restarts, outcome.unready_secs = await site.restarts() - restarts, health.unready_secs
        outcome.seconds = time.monotonic() - began
        outcome.judge(may_refuse=may_refuse)
        return outcome
