"""A server as `make serve` runs it, with the launcher that starts it anew, and what its processes hold."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil
from prometheus_client.parser import text_string_to_metric_families

from amira_asr import AmiraError, AsyncAsrClient, Settings
from loadtest.chaos.health import is_ready
from loadtest.processes import server_processes
from scripts.serving.draining import read_activity
from scripts.serving.ports import free_ports
from scripts.serving.server import ServerStartError

ROOT = Path(__file__).resolve().parents[2]
_HOST = "127.0.0.1"
_POLL_SECS = 0.1
_START_SECS, _RESTART_SECS, _STOP_SECS = 120.0, 60.0, 30.0
_MODELS = ("preprocessor", "encoder", "decoder", "decoder_joint", "decoder_greedy")
# Of the launcher, besides what a scenario asks for. It would give a server up that is killed as often as here. Of freed
# memory glibc keeps up to 64 MB, now more and now less, unless a threshold is set: nobody would see a leak in that.
_VARIABLES = {
    "AMIRA_MAX_RESTARTS": "1000",
    "AMIRA_SHUTDOWN_TIMEOUT_SECS": "5",
    "PYTHONUNBUFFERED": "1",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}


@dataclass(frozen=True)
class Footprint:
    """What all processes of a server hold together.

    Attributes:
        private_mb: private memory.
        handles: open files and sockets.
        live_streams: sequences that the preprocessor holds.
    """

    private_mb: float
    handles: int
    live_streams: int


def may_mount() -> bool:
    """Whether this user may make a mount namespace with a /dev/shm in it."""
    trial = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]  # noqa: S108
    return (
        shutil.which("unshare") is not None and not subprocess.run(trial, capture_output=True, check=False).returncode
    )


class Site:
    """One server under attack. A context manager."""

    def __init__(self, folder: Path, *, shm_mb: int | None = None, **settings: object) -> None:
        """Choose the ports. Nothing runs yet.

        Args:
            folder: for the server's files; it exists.
            shm_mb: size of a /dev/shm of its own; None for that of the machine.
            settings: of the server, by their names in `amira_asr.settings`.
        """
        self.said: list[str] = []  # by the launcher
        grpc_port, self._http_port, metrics_port = free_ports(3, _HOST)
        self.endpoint = f"{_HOST}:{grpc_port}"
        self.ready_url = f"http://{_HOST}:{self._http_port}/v2/health/ready"
        self.metrics_url = f"http://{_HOST}:{metrics_port}/metrics"
        ports = {"host": _HOST, "grpc_port": grpc_port, "http_port": self._http_port, "metrics_port": metrics_port}
        named = {f"AMIRA_{name.upper()}": str(value) for name, value in {**ports, **settings}.items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AMIRA_")}
        self._environment = {**inherited, **_VARIABLES, **named}
        self._command = [sys.executable, "-m", "scripts.serve", "--runtime-dir", str(folder / "run")]
        if shm_mb is not None:  # its own, so that filling it harms nobody else
            mount = f'mount -t tmpfs -o size={shm_mb}m tmpfs /dev/shm && exec "$@"'
            self._command = ["unshare", "--mount", "sh", "-c", mount, "sh", *self._command]
        self._launcher: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Process ID of `tritonserver`. Raises LookupError when it does not run."""
        if self._launcher is None:
            raise LookupError("the server is not started")
        for process in psutil.Process(self._launcher.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == "tritonserver" and process.status() != psutil.STATUS_ZOMBIE:
                    return process.pid
        raise LookupError("no tritonserver runs")

    async def __aenter__(self) -> Site:
        """Start, and wait until it is ready."""
        self._launcher = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=ROOT,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._listening = asyncio.create_task(self._listen(self._launcher))
        try:
            await self.ready(_START_SECS)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop for good, as a service manager does."""
        launcher = self._launcher
        if launcher is not None:
            with contextlib.suppress(ProcessLookupError):
                launcher.terminate()
            try:
                await asyncio.wait_for(launcher.wait(), _STOP_SECS)
            except asyncio.TimeoutError:
                for process in server_processes(launcher.pid):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                await launcher.wait()
        if self._listening is not None:
            await self._listening

    async def ready(self, seconds: float = _RESTART_SECS) -> None:
        """Wait until the server is ready. Raises ServerStartError when it is not in time."""
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(is_ready, self.ready_url):
            ended = self._launcher is None or self._launcher.returncode is not None
            if ended or time.monotonic() > deadline:
                raise ServerStartError("the launcher has given up or is late:\n" + "\n".join(self.said[-20:]))
            await asyncio.sleep(_POLL_SECS)

    def kill(self) -> None:
        """End the server at once, as a crash does. What it started finds out by itself."""
        server = psutil.Process(self.pid)
        server.kill()
        while _runs(server):
            time.sleep(0.001)

    def model_process(self, model: str) -> psutil.Process:
        """Return the process that a model runs in. Raises LookupError when there is none."""
        for process in server_processes(self.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(
                    Path(part).parent.parent.name == model for part in process.cmdline() if part.endswith("model.py")
                ):
                    return process
        raise LookupError(f"no process of model {model!r}")

    @contextlib.contextmanager
    def frozen(self, *processes: psutil.Process) -> Iterator[None]:
        """Stop processes, all of the server if none are given, for as long as the context lasts."""
        stopped = processes or tuple(server_processes(self.pid))
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    @contextlib.contextmanager
    def full_shared_memory(self) -> Iterator[int]:
        """Leave no byte of /dev/shm free, for as long as the context lasts; gives the bytes that were."""
        filler = Path(f"/proc/{self.pid}/root/dev/shm/filler")
        size = 0
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                size += file.write(bytes(4096))
        try:
            yield size
        finally:
            filler.unlink(missing_ok=True)

    async def restarts(self) -> int:
        """Return how often the launcher has started the server anew, by its metric. The server is ready.

        Raises OSError when the server does not answer.
        """
        metrics = await asyncio.to_thread(_read, self.metrics_url)
        return sum(
            int(sample.value)
            for family in text_string_to_metric_families(metrics)
            for sample in family.samples
            if sample.name == "amira_server_restarts"
        )

    async def settled(self) -> Footprint:
        """As `footprint`, of a server that may yet end: Triton may crash some time after it was frozen."""
        deadline = time.monotonic() + _RESTART_SECS
        while True:
            await self.ready()
            try:
                return await self.footprint()
            except (AmiraError, OSError, LookupError, psutil.Error):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_POLL_SECS)

    async def footprint(self, settle_secs: float = 10.0) -> Footprint:
        """Return what is held, after at most `settle_secs` in which streams that ended may be put away."""
        deadline = time.monotonic() + settle_secs
        while (live := await self._live_streams()) and time.monotonic() < deadline:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(_POLL_SECS)
        private, handles = 0.0, 0
        for process in server_processes(self.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                private += process.memory_full_info().uss / 1e6
                handles += process.num_fds()
        return Footprint(round(private, 1), handles, live)

    async def _live_streams(self) -> int:
        async with AsyncAsrClient(Settings(triton_endpoint=self.endpoint)) as client:
            async for _ in client.stream([]):  # streams that nobody ended are put away when another request comes
                pass
        return (await asyncio.to_thread(read_activity, self.metrics_url, _MODELS)).live_streams

    async def _listen(self, launcher: asyncio.subprocess.Process) -> None:
        """Note what the launcher says."""
        if launcher.stdout is None:
            raise RuntimeError("the launcher's output is not a pipe")
        async for line in launcher.stdout:
            self.said.append(line.decode(errors="replace").rstrip())


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
