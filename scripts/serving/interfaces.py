"""Which of Triton's network interfaces anybody may use who reaches its ports.

Streams and utterances come over gRPC, and HTTP tells whether the server is healthy. Everything else is closed, since in
Triton 2.51 one HTTP request of 90 bytes ends the server (a shape whose size overflows), and shared memory regions that
a client registers may be those through which Triton talks to the backends.
"""

from __future__ import annotations

import secrets


def restrictions(opened: frozenset[str]) -> list[str]:
    """Return the arguments of `tritonserver` that close all interfaces but those opened.

    Triton lets in who sends a header with a secret. This one is made here, and nobody learns it.
    """
    secret = secrets.token_urlsafe(32)
    grpc = [name for name in ("shared-memory", "trace", "logging") if name not in opened]
    http = ["model-repository", *grpc] + ([] if "http-inference" in opened else ["inference"])
    arguments = [f"--http-restricted-api={','.join(http)}:amira-operator={secret}"]
    if grpc:
        arguments.append(f"--grpc-restricted-protocol={','.join(grpc)}:amira-operator={secret}")
    return arguments
