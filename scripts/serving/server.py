"""One Triton process: started on given or free ports, waited for, stopped with everything it started."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from scripts.serving.draining import wait_idle
from scripts.serving.installation import TritonInstallation, find_triton
from scripts.serving.interfaces import restrictions
from scripts.serving.shared_memory import region_prefix, remove_regions

# backends/common/launcher.py reads them.
_RUNTIME_FOLDER, _PROBE_ID = "AMIRA_RUNTIME_FOLDER", "AMIRA_PROBE_ID"
_CLIENT_HEADER = "x-amira-client"

# Where a running server can be found, for commands that work on it.
ADDRESS_FILE = "address.json"

# Triton counts every sequence without an END as in flight, abandoned ones too; `drain` is what waits for live ones.
_TRITON_EXIT_SECS = 3

# Below the least `keepalive_secs` of a client. Triton's own limit of 5 minutes is above what many proxies bear.
_PING_INTERVAL_MS = 5_000


class ServerStartError(RuntimeError):
    """Triton ended or did not become ready in time; the message has the end of its log."""


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
        drain_timeout_secs: how long `drain` waits for live streams and requests to finish.
        log_level: "error", "warning", "info" or "verbose".
        log_format: "json" or "text", of the lines of our backends; Triton has a form of its own.
        model_control: whether clients may load and unload models; `scripts.switch` does.
        open_interfaces: see `interfaces.py`.
        log_to_file: keep the log in `runtime_folder/triton.log` instead of the terminal.
    """

    model_repository: Path
    runtime_folder: Path
    host: str = "127.0.0.1"
    grpc_port: int = 0
    http_port: int = 0
    metrics_port: int = 0
    profile: str = ""
    drain_timeout_secs: float = 30.0
    log_level: str = "info"
    log_format: str = "json"
    model_control: bool = False
    open_interfaces: frozenset[str] = frozenset()
    log_to_file: bool = True


def free_ports(count: int, host: str) -> list[int]:
    """Return ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind((host, 0))
        return [item.getsockname()[1] for item in sockets]


class TritonServer:
    """A running `tritonserver`; a context manager that stops it."""

    def __init__(self, options: ServerOptions, installation: TritonInstallation | None = None) -> None:
        """Choose the ports. Nothing runs yet."""
        self.options = options
        self._installation = installation or find_triton()
        wanted = (options.grpc_port, options.http_port, options.metrics_port)
        spare = iter(free_ports(3, options.host))
        self.grpc_port, self.http_port, self.metrics_port = (port or next(spare) for port in wanted)
        self.log_path = options.runtime_folder / "triton.log"
        self._drain_file = options.runtime_folder / "draining"
        self._address_file = options.runtime_folder / ADDRESS_FILE
        self._shared_memory = region_prefix(options.runtime_folder)
        self.probe_id = secrets.token_urlsafe()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def grpc_endpoint(self) -> str:
        """host:port of Triton's gRPC service."""
        return f"{self.options.host}:{self.grpc_port}"

    @property
    def metrics_url(self) -> str:
        """URL of the Prometheus metrics."""
        return f"http://{self.options.host}:{self.metrics_port}/metrics"

    @property
    def pid(self) -> int:
        """Process ID of `tritonserver`, which leads its own process group."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def command(self, backends: Path) -> list[str]:
        """Return the command line."""
        options = self.options
        command = [
            str(self._installation.binary),
            f"--model-repository={options.model_repository}",
            f"--backend-directory={backends}",
            "--disable-auto-complete-config",
            f"--http-address={options.host}",
            f"--http-port={self.http_port}",
            f"--grpc-address={options.host}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-address={options.host}",
            f"--metrics-port={self.metrics_port}",
            f"--exit-timeout-secs={_TRITON_EXIT_SECS}",
            f"--grpc-header-forward-pattern={_CLIENT_HEADER}",
            f"--http-header-forward-pattern=(?i){_CLIENT_HEADER}",
            f"--grpc-http2-min-recv-ping-interval-without-data={_PING_INTERVAL_MS}",
            f"--log-warning={str(options.log_level != 'error').lower()}",
            f"--log-info={str(options.log_level in ('info', 'verbose')).lower()}",
            f"--log-verbose={int(options.log_level == 'verbose')}",
            *restrictions(options.open_interfaces),
        ]
        # Read by the backends that are written in Python, whatever their names.
        command += [f"--backend-config=python,shm-region-prefix-name={self._shared_memory}"]
        if options.model_control:
            # A server that loads one more model is ready all the while.
            command += ["--model-control-mode=explicit", "--load-model=*", "--strict-readiness=false"]
        if options.profile:
            # Models of a profile share GPUs; without the second flag Triton ignores their rate limits.
            command += [f"--model-config-name={options.profile}", "--rate-limit=execution_count"]
        return command

    def start(self) -> None:
        """Start the process. It gets its own process group, so that a Ctrl+C reaches it only through `stop`."""
        self._drain_file.unlink(missing_ok=True)
        remove_regions(self._shared_memory)  # of a launcher that was killed with its server
        backends = self.options.runtime_folder / "backends"
        self._installation.lay_out_backends(backends)
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(self.log_path.open("wb")) if self.options.log_to_file else None
            self._process = subprocess.Popen(
                self.command(backends),
                env={**self._installation.environment(), **self._backend_variables()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if log else None,
                start_new_session=True,
            )
        address = {
            "grpc_endpoint": self.grpc_endpoint,
            "metrics_url": self.metrics_url,
            "model_control": self.options.model_control,
        }
        self._address_file.write_text(json.dumps(address), encoding="utf-8")

    def _backend_variables(self) -> dict[str, str]:
        """Return what the backends must know; Triton has no other way to tell them."""
        return {
            _RUNTIME_FOLDER: str(self.options.runtime_folder.resolve()),
            _PROBE_ID: self.probe_id,
            "AMIRA_LOG_LEVEL": self.options.log_level,
            "AMIRA_LOG_FORMAT": self.options.log_format,
        }

    def wait_ready(self, timeout_secs: float = 120.0) -> None:
        """Wait until every model is ready.

        Raises:
            ServerStartError: the process ended, or the time is over.
        """
        deadline = time.monotonic() + timeout_secs
        while not self.is_ready():
            if self._process is None or self._process.poll() is not None:
                raise ServerStartError(f"tritonserver ended while starting\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerStartError(f"tritonserver was not ready within {timeout_secs:g} s\n{self.log_tail()}")
            time.sleep(0.1)

    def is_ready(self) -> bool:
        """Whether the server and all its models are ready."""
        try:
            url = f"http://{self.options.host}:{self.http_port}/v2/health/ready"
            with urllib.request.urlopen(url, timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait(self) -> int:
        """Wait for the process to end by itself; return its exit status."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.wait()

    def drain(self) -> bool:
        """Refuse what is new and let streams and requests finish, for at most the drain timeout.

        Returns:
            Whether everything finished. False, too, when the server does not answer.
        """
        self._drain_file.touch()
        try:
            models = {folder.name for folder in self.options.model_repository.iterdir()}
            return wait_idle(self.metrics_url, models, self.options.drain_timeout_secs)
        except OSError:
            return False

    def stop(self) -> int | None:
        """Tell the server to exit, then remove whatever is left of its process group.

        Returns:
            The exit status, or None when it had to be killed.
        """
        if self._process is None:
            return None
        self._address_file.unlink(missing_ok=True)
        group = self._process.pid
        status: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(_TRITON_EXIT_SECS + 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        remove_regions(self._shared_memory)
        self._process = None
        return status

    def log_tail(self, lines: int = 40) -> str:
        """Return the end of the log file."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> TritonServer:
        """Start and wait until ready; stop at once when that fails."""
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()
