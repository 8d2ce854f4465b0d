"""Who sends a request: a gRPC or HTTP header that Triton forwards as a request parameter of the same name."""

from __future__ import annotations

from collections.abc import Mapping

CLIENT_HEADER = "x-amira-client"
_MAX_LENGTH = 200


def is_client_key(parameter: str) -> bool:
    """Whether a request parameter is the header. HTTP clients write headers in any case."""
    return parameter.lower() == CLIENT_HEADER


def client_key(parameters: Mapping[str, str | int | float | bool]) -> str:
    """Return who sends a request; empty for whoever does not say.

    Raises:
        ValueError: it is no text, or too long.
    """
    for name, value in parameters.items():
        if is_client_key(name):
            if not isinstance(value, str) or len(value) > _MAX_LENGTH:
                raise ValueError(f"{CLIENT_HEADER} is {value!r:.50}; allowed: text of up to {_MAX_LENGTH} characters")
            return value
    return ""
