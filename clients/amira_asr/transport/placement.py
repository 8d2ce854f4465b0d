"""What a request says about its audio, and what is done with it when the request is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tritonclient.grpc import InferInput

from amira_asr import protocol
from amira_asr.audio import Float32


def _nothing(*, answered: bool) -> None:
    """Leave audio in a message alone."""


class Free(Protocol):
    """Gives the place of some audio back."""

    def __call__(self, *, answered: bool) -> None:
        """Say that the request is done with; not `answered` if the server may still read the audio."""


@dataclass(frozen=True)
class Placed:
    """Audio where the server finds it.

    Attributes:
        inputs: of the request.
        free: to be called once.
    """

    inputs: list[InferInput]
    free: Free = _nothing


class Transport(Protocol):
    """A way for audio to one server."""

    async def place(self, samples: Float32) -> Placed:
        """Put [samples] where the server finds them. Raises AmiraError, InferenceServerException."""

    def forget(self) -> None:
        """Note that the server may have been restarted."""

    async def close(self) -> None:
        """Give everything back."""


class InMessage:
    """Audio in the message itself."""

    async def place(self, samples: Float32) -> Placed:
        """Return [samples] in a message."""
        return Placed(protocol.inputs(samples))

    def forget(self) -> None:
        """Do nothing: nothing is kept."""

    async def close(self) -> None:
        """Do nothing."""
