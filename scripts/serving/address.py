"""Where a running server can be found, in a file of its runtime folder, for commands that work on it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

_FILE = "address.json"


@dataclass(frozen=True)
class Address:
    """How to reach a server.

    Attributes:
        host: that it binds.
        grpc_endpoint: host:port.
        http_port: on the host.
        metrics_url: Prometheus metrics.
        admin_key: opens what changes models; None where they may not change. Whoever reads the file may change them.
    """

    host: str
    grpc_endpoint: str
    http_port: int
    metrics_url: str
    admin_key: str | None

    def write(self, runtime_folder: Path) -> None:
        """Write the file, for its owner only."""
        self.remove(runtime_folder)
        file = runtime_folder / _FILE
        file.touch(mode=0o600)
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def read(runtime_folder: Path) -> Address:
        """Return what the file says. Raises FileNotFoundError where no server runs."""
        return Address(**json.loads((runtime_folder / _FILE).read_text(encoding="utf-8")))

    @staticmethod
    def remove(runtime_folder: Path) -> None:
        """Remove the file, if there is one."""
        (runtime_folder / _FILE).unlink(missing_ok=True)
