"""Ports of this machine: free ones, and whether those that settings name can be had."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping


class PortError(ValueError):
    """A port cannot be listened on. The message names the setting and what to do."""


def free_ports(count: int, host: str) -> list[int]:
    """Return ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind((host, 0))
        return [item.getsockname()[1] for item in sockets]


def check_ports(host: str, ports: Mapping[str, int]) -> None:
    """Try whether the server can listen there; Triton itself says so after minutes of loading models.

    Args:
        host: address to bind.
        ports: by the name of their setting; 0 is any free port.

    Raises:
        PortError: another program listens there, the address is not of this machine, or the port not for this user.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for setting, port in ports.items():
        try:
            with socket.socket(family) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as of a server that has just ended
                trial.bind((host, port))
        except OSError as error:
            raise PortError(
                f"setting {setting!r}: {host}:{port} cannot be had ({error.strerror}): "
                f"stop what listens there, or set AMIRA_{setting.upper()}"
            ) from None
