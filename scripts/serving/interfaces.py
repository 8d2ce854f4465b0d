"""Which of Triton's network interfaces anybody may use who reaches its ports.

Streams and utterances come over gRPC, and HTTP tells whether the server is healthy. Everything else is closed, since in
Triton 2.51 one HTTP request of 90 bytes ends the server (a shape whose size overflows), and shared memory regions that
a client registers may be those through which Triton talks to the backends. What changes the server or tells about the
requests of others is the operator's.

Triton lets in who sends a header with a secret; over gRPC the name of it begins with `triton-grpc-protocol-`.
"""

from __future__ import annotations

from dataclasses import dataclass

ADMIN_HEADER = "amira-operator"
API_KEY_HEADER = "amira-api-key"
_OPERATORS = ("model-repository", "statistics", "shared-memory", "trace", "logging")
_CLIENTS = ("inference", "metadata", "model-config")


@dataclass(frozen=True)
class Keys:
    """The secrets of one server.

    Attributes:
        admin: opens everything that is closed; the launcher's own.
        api: opens what clients need; None where nobody has to show one.
    """

    admin: str
    api: str | None = None

    @property
    def http_headers(self) -> dict[str, str]:
        """Headers of a request that may do anything."""
        return {ADMIN_HEADER: self.admin} | ({API_KEY_HEADER: self.api} if self.api else {})

    @property
    def secrets(self) -> list[str]:
        """Texts that nobody else shall see."""
        return [key for key in (self.admin, self.api) if key]


def restrictions(opened: frozenset[str], keys: Keys, *, tls: bool = False) -> list[str]:
    """Return the arguments of `tritonserver` that close all interfaces but those opened.

    Health is open to everybody, for load balancers.

    Args:
        opened: names of `amira_asr.setting_values.INTERFACES`; where clients must show a key, for these, too.
        keys: of the server.
        tls: whether gRPC is encrypted. HTTP never is, so then nothing but health is left there.
    """
    operators = [name for name in _OPERATORS if name not in opened]
    clients = [*_CLIENTS, *(name for name in _OPERATORS if name in opened)]
    closed_http = list(operators)
    if tls:
        closed_http += clients
    elif "http-inference" not in opened:
        closed_http += ["inference"]
    arguments = [
        _argument("http-restricted-api", closed_http, ADMIN_HEADER, keys.admin),
        _argument("grpc-restricted-protocol", operators, ADMIN_HEADER, keys.admin),
    ]
    if keys.api is not None:
        http = [name for name in clients if name not in closed_http]
        arguments += [_argument("http-restricted-api", http, API_KEY_HEADER, keys.api)] if http else []
        arguments += [_argument("grpc-restricted-protocol", clients, API_KEY_HEADER, keys.api)]
    return arguments


def _argument(option: str, names: list[str], header: str, key: str) -> str:
    return f"--{option}={','.join(names)}:{header}={key}"
