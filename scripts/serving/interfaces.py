"""Which of Triton's network interfaces anybody may use who reaches its ports.

Streams and utterances come over gRPC, and HTTP tells whether the server is healthy. Everything else is closed, since in
Triton 2.51 one HTTP request of 90 bytes ends the server (a shape whose size overflows), and shared memory regions that
a client registers may be those through which Triton talks to the backends. What changes the server or tells about the
requests of others is the operator's.
"""

from __future__ import annotations

# Triton lets in who sends this header with the server's secret; over gRPC its name begins with triton-grpc-protocol-.
ADMIN_HEADER = "amira-operator"
_CLOSED = ("model-repository", "statistics", "shared-memory", "trace", "logging")


def restrictions(opened: frozenset[str], admin_key: str) -> list[str]:
    """Return the arguments of `tritonserver` that close all interfaces but those opened.

    Args:
        opened: names of `amira_asr.settings.INTERFACES`.
        admin_key: opens them all the same; the launcher's own.
    """
    grpc = [name for name in _CLOSED if name not in opened]
    http = [*grpc] + ([] if "http-inference" in opened else ["inference"])
    return [
        f"--http-restricted-api={','.join(http)}:{ADMIN_HEADER}={admin_key}",
        f"--grpc-restricted-protocol={','.join(grpc)}:{ADMIN_HEADER}={admin_key}",
    ]
