"""How many streams a client may have, how long a stream may be, and how far ahead of real time it may run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from common.metric_catalogue import OVERLOADED, RATE
from common.parameters import ModelConfig
from common.sequences import Sequence, SequenceId, ServerBusy
from log_mel.stream import Stream

# A client may send a recording as fast as it can, unless the server already holds more than it should.
# More than clients replay of a stream that lost its server.
AHEAD_SECS = 60.0


@dataclass(frozen=True)
class StreamLimits:
    """Limits of single streams; None for no limit.

    Attributes:
        sample_rate: Hz.
        max_stream_secs: audio of one stream.
        max_streams_per_client: live streams with one client key.
        clock: monotonic seconds; replaced in tests.
    """

    sample_rate: int
    max_stream_secs: float | None = None
    max_streams_per_client: int | None = None
    clock: Callable[[], float] = time.monotonic

    @staticmethod
    def configured(config: ModelConfig) -> StreamLimits:
        """Read a model's parameters. Raises ValueError."""
        return StreamLimits(
            sample_rate=config.integer("sample_rate", 1),
            max_stream_secs=config.optional_number("max_stream_secs"),
            max_streams_per_client=config.optional_integer("max_streams_per_client", 1),
        )

    def check_client(self, client: str, sequence_id: SequenceId, live: Iterable[Sequence[Stream[object]]]) -> None:
        """Raise ServerBusy when a client has as many streams as it may have, without the one it starts anew."""
        if self.max_streams_per_client is None:
            return
        count = sum(other.state.client == client and other.id != sequence_id for other in live)
        if count >= self.max_streams_per_client:
            raise ServerBusy(
                f"rate limited: client {client!r} has {count} of {self.max_streams_per_client} streams "
                "(max_streams_per_client); end one, or try again later",
                RATE,
            )

    def receive(self, stream: Stream[object], samples: int, overload: str | None) -> None:
        """Count [samples] of a chunk to a stream.

        Args:
            stream: that they belong to.
            samples: how many.
            overload: how many requests wait in the server, as text, if they are too many; else None.

        Raises:
            ValueError: the stream is longer than a stream may be.
            ServerBusy: it runs ahead of real time while the server holds too many requests.
        """
        stream.samples += samples
        seconds = stream.samples / self.sample_rate
        if seconds > (self.max_stream_secs or math.inf):
            raise ValueError(
                f"stream has {seconds:g} s of audio; allowed: up to {self.max_stream_secs:g} s (max_stream_secs); send "
                "END to collect what was recognised, and go on in a new stream"
            )
        ahead = seconds - (self.clock() - stream.started)
        if overload is not None and ahead > AHEAD_SECS:
            raise ServerBusy(
                f"rate limited: stream runs {ahead:.0f} s ahead of real time while {overload} requests wait in the "
                f"server; allowed then: {AHEAD_SECS:g} s; wait for responses before sending more",
                OVERLOADED,
            )
