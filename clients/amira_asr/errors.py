"""What can go wrong, as exceptions whose text says what to do about it."""

from __future__ import annotations

import re
from typing import ClassVar

from amira_asr.events import Transcript


class AmiraError(Exception):
    """Base of all errors of this library.

    Attributes:
        retryable: whether the same call may succeed later.
        partial: what had been recognised before the error; None when nothing had.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, partial: Transcript | None = None) -> None:
        super().__init__(message)
        self.partial = partial


class ServerUnavailable(AmiraError):
    """No server answers at the endpoint, or it went away."""

    retryable = True


class ClientClosed(ServerUnavailable):
    """The client was closed: make a new one."""

    retryable = False


class CircuitOpen(ServerUnavailable):
    """Every endpoint failed so often that it is left alone for a while; nothing was sent.

    Attributes:
        retry_after_secs: when the first of them is tried again.
    """

    def __init__(self, message: str, retry_after_secs: float) -> None:
        super().__init__(message)
        self.retry_after_secs = retry_after_secs


class ServerStopping(ServerUnavailable):
    """The server finishes what it has begun, and takes nothing new."""


class DeadlineExceeded(AmiraError):
    """The server did not answer in time."""

    retryable = True


class ServerFull(AmiraError):
    """The server serves as many streams as it admits.

    Attributes:
        retry_after_secs: when the server would take it, if it said so; 0 if it did not.
    """

    retryable = True

    def __init__(self, message: str, partial: Transcript | None = None) -> None:
        super().__init__(message, partial)
        said = re.search(r"try again in (\d+(?:\.\d+)?) s", message)
        self.retry_after_secs = float(said[1]) if said else 0.0


class RateLimited(ServerFull):
    """The server takes no more from this client for now."""


class SequenceLost(AmiraError):
    """The server does not know the stream any more: it was idle for too long, or the server was restarted."""

    retryable = True


class AudioDamaged(AmiraError):
    """The audio that arrived is not what was sent: the line turns bits over, and has no TLS to notice it."""

    retryable = True


class InvalidAudio(AmiraError):
    """The audio cannot be decoded, or is not what the model takes."""


class ServerError(AmiraError):
    """Anything else that the server reports, twice: the first time a bit of the request may have turned over."""


class InvalidRequest(ServerError):
    """An option that the server does not take, or not with that value; the text names what is allowed."""
