"""One Triton process: started on given or free ports, waited for, stopped with everything it started."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType

from scripts.serving.address import Address
from scripts.serving.draining import forget_abandoned, wait_idle
from scripts.serving.hidden_arguments import hide_arguments
from scripts.serving.installation import TritonInstallation, find_triton
from scripts.serving.interfaces import Keys, restrictions
from scripts.serving.pipelines import read_pipelines
from scripts.serving.ports import free_ports
from scripts.serving.readiness import Readiness
from scripts.serving.server_options import ServerOptions
from scripts.serving.shared_memory import region_prefix, remove_regions
from scripts.serving.stubs import Stubs
from scripts.serving.triton_http import TritonHttp, TritonRefusedError

# backends/common/launcher.py reads them.
_RUNTIME_FOLDER, _PROBE_ID = "AMIRA_RUNTIME_FOLDER", "AMIRA_PROBE_ID"
_RESTARTS = "AMIRA_RESTARTS"
_CLIENT_HEADER = "x-amira-client"
_SECRET_VARIABLES = ("AMIRA_API_KEY", "AMIRA_GATEWAY_API_KEYS")

_QUANTILES = "0.5:0.05,0.95:0.005,0.99:0.001"

# Triton counts every sequence without an END as in flight, abandoned ones too; `drain` is what waits for live ones.
_TRITON_EXIT_SECS = 3

# Below the least `keepalive_secs` of a client. Triton's own limit of 5 minutes is above what many proxies bear.
_PING_INTERVAL_MS = 5_000

# Requests whose memory Triton keeps for the next ones. Beyond as many as it keeps it frees a request's state while the
# thread that answered it still writes to it (ModelStreamInferHandler::StreamInferResponseComplete, also in 26.09), and
# once in some hundred thousand chunks that ends the server. Kept are no more than were once in flight together.
_KEPT_REQUESTS = 65_536


class ServerStartError(RuntimeError):
    """Triton ended or did not become ready in time. The message has the reason, and below it the end of the log."""


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
        self.overload_file = options.runtime_folder / "overloaded"
        self._drain_file = options.runtime_folder / "draining"
        self._shared_memory = region_prefix(options.runtime_folder)
        self.probe_id = secrets.token_urlsafe()
        self.keys = Keys(secrets.token_urlsafe(), options.api_key)
        self.http = TritonHttp(self.http_port, options.host, self.keys.http_headers)
        self.keys_are_hidden = False
        self._readiness = Readiness(options.model_repository, self.http)
        self._process: subprocess.Popen[bytes] | None = None
        self._stubs: Stubs | None = None

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

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped or killed."""
        return self._process is not None

    @property
    def stubs(self) -> Stubs:
        """The backend processes."""
        if self._stubs is None:
            raise RuntimeError("the server is not running")
        return self._stubs

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
            f"--grpc-infer-allocation-pool-size={_KEPT_REQUESTS}",
            f"--exit-timeout-secs={_TRITON_EXIT_SECS}",
            f"--grpc-header-forward-pattern={_CLIENT_HEADER}",
            f"--http-header-forward-pattern=(?i){_CLIENT_HEADER}",
            f"--grpc-http2-min-recv-ping-interval-without-data={_PING_INTERVAL_MS}",
            f"--log-warning={str(options.log_level != 'error').lower()}",
            f"--log-info={str(options.log_level in ('info', 'verbose')).lower()}",
            f"--log-verbose={int(options.log_level == 'verbose')}",
            # Quantiles of every model's times, those of the ensembles, too; the default has means only.
            "--metrics-config=summary_latencies=true",
            f"--metrics-config=summary_quantiles={_QUANTILES}",
            # As our own lines have it; UTC.
            "--log-format=ISO8601",
            *options.tracing.flags(),
            *restrictions(options.open_interfaces, self.keys, tls=options.tls is not None),
            *(options.tls.arguments() if options.tls is not None else ()),
        ]
        # Read by the backends that are written in Python, whatever their names.
        command += [f"--backend-config=python,shm-region-prefix-name={self._shared_memory}"]
        # For `Readiness`. A server that may load further versions is ready all the while, so it cannot be turned off.
        command += ["--model-control-mode=explicit", "--load-model=*"]
        command += [f"--strict-readiness={str(not options.model_control).lower()}"]
        if options.profile:
            # Models of a profile share GPUs; without the second flag Triton ignores their rate limits.
            command += [f"--model-config-name={options.profile}", "--rate-limit=execution_count"]
        return command

    def start(self, restarts: Mapping[str, int] | None = None) -> None:
        """Start the process. It gets its own process group, so that a Ctrl+C reaches it only through `stop`.

        Args:
            restarts: how often it was started anew before, by cause; for the metric.
        """
        self._drain_file.unlink(missing_ok=True)
        remove_regions(self._shared_memory)  # of a launcher that was killed with its server
        self.overload_file.unlink(missing_ok=True)
        self._readiness.reset()
        backends = self.options.runtime_folder / "backends"
        self._installation.lay_out_backends(backends)
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(self.log_path.open("wb")) if self.options.log_to_file else None
            self._process = subprocess.Popen(
                self.command(backends),
                env={**self._environment(), **self._backend_variables(restarts or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if log else None,
                start_new_session=True,
            )
        self._stubs = Stubs(self._process.pid)
        Address(
            host=self.options.host,
            grpc_endpoint=self.grpc_endpoint,
            http_port=self.http_port,
            metrics_url=self.metrics_url,
            admin_key=self.keys.admin if self.options.model_control else None,
        ).write(self.options.runtime_folder)

    def _environment(self) -> dict[str, str]:
        """Return the environment without what backends need not know."""
        return {key: value for key, value in self._installation.environment().items() if key not in _SECRET_VARIABLES}

    def _backend_variables(self, restarts: Mapping[str, int]) -> dict[str, str]:
        """Return what the backends must know; Triton has no other way to tell them."""
        return {
            _RUNTIME_FOLDER: str(self.options.runtime_folder.resolve()),
            _PROBE_ID: self.probe_id,
            _RESTARTS: json.dumps(restarts),
            "AMIRA_LOG_LEVEL": self.options.log_level,
            "AMIRA_LOG_FORMAT": self.options.log_format,
        }

    def wait_ready(self) -> None:
        """Wait until every model is ready.

        Raises:
            ServerStartError: the process ended, or the time is over.
        """
        timeout_secs = self.options.start_timeout_secs
        deadline = time.monotonic() + timeout_secs
        while not self.is_ready():
            if self._process is None or self._process.poll() is not None:
                reasons = "".join(f": {reason}" for reason in self._load_failures())
                raise ServerStartError(f"tritonserver ended while starting{reasons}\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerStartError(f"tritonserver was not ready within {timeout_secs:g} s\n{self.log_tail()}")
            time.sleep(0.1)
        self.keys_are_hidden = hide_arguments(self.pid, self.keys.secrets)

    def is_ready(self) -> bool:
        """Whether the server and all its models are ready."""
        return self.http.is_ready()

    def set_ready(self, *, ready: bool) -> None:
        """Turn readiness on or off, for load balancers; streams and requests go on. Not where models may change."""
        if ready == self._readiness.is_on or self.options.model_control:
            return
        with contextlib.suppress(OSError, TritonRefusedError):  # a server that does not answer is not ready, either
            if ready:
                self._readiness.turn_on()
            else:
                self._readiness.turn_off()

    def poll(self) -> int | None:
        """Return the exit status of a process that has ended by itself; None while it runs."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.poll()

    def drain(self) -> bool:
        """Be not ready, refuse what is new, and let streams and requests finish, for at most the drain timeout.

        Returns:
            Whether everything finished. False, too, when the server does not answer.
        """
        self._drain_file.touch()
        self.set_ready(ready=False)
        try:
            models = {folder.name for folder in self.options.model_repository.iterdir()}
            nudge = partial(forget_abandoned, self.http, read_pipelines(self.options.model_repository), self.probe_id)
            return wait_idle(self.metrics_url, models, self.options.drain_timeout_secs, nudge=nudge)
        except OSError:
            return False

    def stop(self) -> int | None:
        """Tell the server to exit, then remove whatever is left of its process group.

        Returns:
            The exit status, or None when it had to be killed.
        """
        if self._process is None:
            return None
        Address.remove(self.options.runtime_folder)
        status: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._process.wait(_TRITON_EXIT_SECS + 10)
        self.kill()
        return status

    def kill(self) -> None:
        """End every process of the server at once, and remove what they cannot remove themselves."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        remove_regions(self._shared_memory)
        self._process = self._stubs = None

    def _load_failures(self) -> list[str]:
        """Return why models were not loaded, each reason once, as Triton's table of models has it."""
        log = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return list(dict.fromkeys(re.findall(r"^\|[^|]+\|[^|]+\| UNAVAILABLE: (.+?) *\|$", log, re.MULTILINE)))

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
