"""What the preprocessor keeps for one stream."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from log_mel.vad_gate import GateState

StateT = TypeVar("StateT")


@dataclass
class Stream(Generic[StateT]):
    """One stream.

    Attributes:
        features: what the front end keeps.
        gate: voice activity gate; None for a stream without one.
        client: key of the client that sends it.
        samples: received so far.
        started: clock reading of its START, seconds.
    """

    features: StateT
    gate: GateState | None = None
    client: str = ""
    samples: int = 0
    started: float = field(default_factory=time.monotonic)
