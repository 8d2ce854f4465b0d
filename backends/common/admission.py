"""Whether the server takes something new: asked by first steps about every START and every whole utterance."""

from __future__ import annotations

import time

import limits
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from common.client_key import CLIENT_HEADER
from common.launcher import Launcher
from common.metric_catalogue import RATE
from common.parameters import ModelConfig
from common.sequences import SequenceId, ServerBusy


class RateLimit:
    """So many starts in so much time for each client key; a sliding window."""

    def __init__(self, text: str) -> None:
        """Parse "30/minute". Raises ValueError when it is nothing like that."""
        self._limit = limits.parse(text)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, client: str) -> None:
        """Count one start. Raises ServerBusy when there were too many."""
        if not self._limiter.hit(self._limit, client):
            reset = self._limiter.get_window_stats(self._limit, client).reset_time
            who = f"client {client!r}" if client else f"clients that send no {CLIENT_HEADER}"
            raise ServerBusy(
                f"rate limited: {who} may start {self._limit.amount} in {self._limit.get_expiry()} s; "
                f"try again in {max(1.0, reset - time.time()):.0f} s",
                RATE,
            )


class Admission:
    """The limits of a model that do not depend on what is inside it."""

    def __init__(self, launcher: Launcher, rate: RateLimit | None = None) -> None:
        """Remember whom to ask.

        Args:
            launcher: knows whether the server stops, or holds too much.
            rate: of starts, for each client; None for no limit.
        """
        self._launcher, self._rate = launcher, rate

    @staticmethod
    def configured(config: ModelConfig, launcher: Launcher) -> Admission:
        """Read a model's parameters. Raises ValueError."""
        rate = config.optional_text("rate_limit")
        return Admission(launcher, RateLimit(rate) if rate else None)

    def admit(self, client: str, *, sequence_id: SequenceId = "") -> None:
        """Let a stream or an utterance of a client in, as far as it is for this to say. Raises ServerBusy."""
        if self._launcher.is_probe(sequence_id):
            return
        self._launcher.refuse_when_draining()
        self._launcher.refuse_when_overloaded()
        if self._rate is not None:
            self._rate.count(client)
