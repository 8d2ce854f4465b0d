"""What every route shares."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from amira_asr import Settings
from amira_gateway.admission import Admission
from amira_gateway.metrics import Metrics
from amira_gateway.recognisers import Recognisers


@dataclass(frozen=True)
class Gateway:
    """One running gateway.

    Attributes:
        settings: all of them.
        recognisers: of the server.
        admission: what is going on.
        metrics: what has happened.
        started: when it was started, `time.monotonic`.
    """

    settings: Settings
    recognisers: Recognisers
    admission: Admission
    metrics: Metrics
    started: float = field(default_factory=time.monotonic)


def gateway_of(connection: HTTPConnection) -> Gateway:
    """Return the gateway that a request or WebSocket came to."""
    gateway = connection.app.state.gateway
    assert isinstance(gateway, Gateway)  # noqa: S101  set by the lifespan before anything is served
    return gateway
