"""The command `amira-gateway`."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from pathlib import Path

from amira_asr import SettingsError, load_settings

_MISSING = "amira-gateway needs packages that are not installed ({name}): pip install 'amira-asr[gateway]'"


def main() -> None:
    """Serve until stopped; an expected error is one line on standard error, and exit status 1."""
    parser = argparse.ArgumentParser(
        prog="amira-gateway",
        description="HTTP and WebSocket gateway to a running Triton. AMIRA_* variables and config files configure it; "
        "`amira-asr config` shows them.",
    )
    parser.add_argument("--config-dir", type=Path, default=Path(), help="folder with config.toml and config.yaml")
    parser.add_argument("--host", help="address to bind (AMIRA_GATEWAY_HOST)")
    parser.add_argument("--port", type=int, help="port; 0 takes a free one (AMIRA_GATEWAY_PORT)")
    parser.add_argument("--endpoint", help="host:port of Triton's gRPC service (AMIRA_TRITON_ENDPOINT)")
    arguments = parser.parse_args()
    try:
        settings = load_settings(
            arguments.config_dir,
            gateway_host=arguments.host,
            gateway_port=arguments.port,
            triton_endpoint=arguments.endpoint,
        )
        from amira_gateway.app import create_app  # noqa: PLC0415  the extra may not be installed
        from amira_gateway.server import gateway_server  # noqa: PLC0415

        app = create_app(settings)
        _check_port(settings.gateway_host, settings.gateway_port)
    except (SettingsError, OSError) as error:
        sys.exit(f"amira-gateway: {error}")
    except ModuleNotFoundError as error:
        sys.exit(_MISSING.format(name=error.name))
    logging.basicConfig(
        level=settings.log_level.upper().replace("VERBOSE", "DEBUG"), format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.INFO)
    # It writes a WebSocket's query, which may hold phrases; ours is the access log.
    logging.getLogger("uvicorn.error").addFilter(lambda record: "WebSocket" not in str(record.msg))
    gateway_server(app, settings).run()


def _check_port(host: str, port: int) -> None:
    """Raise OSError where the gateway cannot listen; uvicorn would say so after it has started."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as of a gateway that has just ended
            trial.bind((host, port))
    except OSError as error:
        raise OSError(
            f"{host}:{port} cannot be had ({error.strerror}): stop what listens there, or set AMIRA_GATEWAY_PORT"
        ) from None


if __name__ == "__main__":
    main()
