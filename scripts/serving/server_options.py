"""What a server is told when it is started."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from scripts.serving.tracing import Tracing


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of TLS.

    Attributes:
        certificate: the server's.
        key: its private key.
        client_ca: whose certificates clients must show; None when they need none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def arguments(self) -> list[str]:
        """Return them as arguments of `tritonserver`."""
        arguments = ["--grpc-use-ssl=true", f"--grpc-server-cert={self.certificate}", f"--grpc-server-key={self.key}"]
        if self.client_ca is not None:
            arguments += ["--grpc-use-ssl-mutual=true", f"--grpc-root-cert={self.client_ca}"]
        return arguments


@dataclass(frozen=True)
class ServerOptions:
    """How to run Triton.

    Attributes:
        model_repository: a staged repository.
        runtime_folder: where the backend directory and the log go.
        host: address to bind.
        grpc_port: 0 takes a free one, as for the others.
        http_port: health endpoints.
        metrics_port: Prometheus metrics.
        profile: name of the `configs/<profile>.pbtxt` to prefer; empty for `config.pbtxt`.
        start_timeout_secs: how long `wait_ready` waits.
        drain_timeout_secs: how long `drain` waits for live streams and requests to finish.
        log_level: "error", "warning", "info" or "verbose".
        log_format: "json" or "text", of the lines of our backends; Triton has a form of its own.
        tracing: OpenTelemetry export.
        model_control: whether clients may load and unload models; `scripts.switch` does.
        open_interfaces: see `interfaces.py`.
        api_key: that clients must show; None for none.
        tls: of gRPC; None for none.
        log_to_file: keep the log in `runtime_folder/triton.log` instead of the terminal.
    """

    model_repository: Path
    runtime_folder: Path
    host: str = "127.0.0.1"
    grpc_port: int = 0
    http_port: int = 0
    metrics_port: int = 0
    profile: str = ""
    start_timeout_secs: float = 120.0
    drain_timeout_secs: float = 30.0
    log_level: str = "info"
    log_format: str = "json"
    tracing: Tracing = field(default_factory=Tracing)
    model_control: bool = False
    open_interfaces: frozenset[str] = frozenset()
    api_key: str | None = None
    tls: TlsFiles | None = None
    log_to_file: bool = True
