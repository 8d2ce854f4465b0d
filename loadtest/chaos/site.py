"""A server that is started again whenever it ends, as an orchestrator does, and what its processes hold."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from amira_asr import AmiraError, AsyncAsrClient, Settings
from loadtest.processes import server_processes
from scripts.serving.draining import read_activity
from scripts.serving.server import ServerOptions, ServerStartError, TritonServer
from scripts.serving.staging import RepositorySettings, stage_repository

ROOT = Path(__file__).resolve().parents[2]
_POLL_SECS = 0.1
_RESTART_SECS = 60.0
_START_ATTEMPTS = 3
_MODELS = ("preprocessor", "encoder", "decoder", "decoder_joint", "decoder_greedy")


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


class SmallSharedMemory(TritonServer):
    """A server whose /dev/shm is its own, so that filling it harms nobody else. Needs the right to mount."""

    def __init__(self, options: ServerOptions, megabytes: int) -> None:
        """Prepare."""
        super().__init__(options)
        self._megabytes = megabytes

    def command(self, backends: Path) -> list[str]:
        """Return the command line, in a mount namespace."""
        mount = f'mount -t tmpfs -o size={self._megabytes}m tmpfs /dev/shm && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mount, "sh", *super().command(backends)]


def may_mount() -> bool:
    """Whether this user may make a mount namespace with a /dev/shm in it."""
    trial = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]  # noqa: S108
    return (
        shutil.which("unshare") is not None and not subprocess.run(trial, capture_output=True, check=False).returncode
    )


class Site:
    """One server under attack. A context manager."""

    def __init__(self, folder: Path, settings: RepositorySettings, *, shm_mb: int | None = None) -> None:
        """Stage the shipped models. Nothing runs yet.

        Args:
            folder: for the server's files; it exists.
            settings: of the server.
            shm_mb: size of a /dev/shm of its own; None for that of the machine.
        """
        self._repository = folder / "model-repo"
        stage_repository(ROOT / "model-repo", self._repository, settings)
        options = ServerOptions(self._repository, folder)
        self.server = TritonServer(options) if shm_mb is None else SmallSharedMemory(options, shm_mb)
        self.restarts = 0
        self.last_words = ""
        self._keeping: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def endpoint(self) -> str:
        """host:port of gRPC."""
        return self.server.grpc_endpoint

    async def __aenter__(self) -> Site:
        """Start, and wait until it is ready."""
        self._keeping = asyncio.create_task(self._keep())
        await self.ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop for good."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await asyncio.to_thread(self.server.stop)

    async def ready(self) -> None:
        """Wait until the server is ready. Raises ServerStartError when it does not start."""
        waiting = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait({waiting, *filter(None, [self._keeping])}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done() and self._keeping is not None:
            waiting.cancel()
            self._keeping.result()

    def kill(self) -> None:
        """End the server at once, as a crash does. What it started finds out by itself."""
        self._ready.clear()
        self._kill()

    def model_process(self, model: str) -> psutil.Process:
        """Return the process that a model runs in. Raises LookupError when there is none."""
        for process in server_processes(self.server.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(
                    Path(part).parent.parent.name == model for part in process.cmdline() if part.endswith("model.py")
                ):
                    return process
        raise LookupError(f"no process of model {model!r}")

    @contextlib.contextmanager
    def frozen(self, *processes: psutil.Process) -> Iterator[None]:
        """Stop processes, all of the server if none are given, for as long as the context lasts."""
        stopped = processes or tuple(server_processes(self.server.pid))
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
        filler = Path(f"/proc/{self.server.pid}/root/dev/shm/filler")
        size = 0
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                size += file.write(bytes(4096))
        try:
            yield size
        finally:
            filler.unlink(missing_ok=True)

    async def settled(self) -> Footprint:
        """As `footprint`, of a server that may yet end: Triton may crash some time after it was frozen."""
        deadline = time.monotonic() + _RESTART_SECS
        while True:
            await self.ready()
            try:
                return await self.footprint()
            except (AmiraError, OSError, psutil.Error):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_POLL_SECS)

    async def footprint(self, settle_secs: float = 10.0) -> Footprint:
        """Return what is held, after at most `settle_secs` in which streams that ended may be put away."""
        deadline = time.monotonic() + settle_secs
        while (live := await self._live_streams()) and time.monotonic() < deadline:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(_POLL_SECS)
        private, handles = 0.0, 0
        for process in server_processes(self.server.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                private += process.memory_full_info().uss / 1e6
                handles += process.num_fds()
        return Footprint(round(private, 1), handles, live)

    async def _live_streams(self) -> int:
        async with AsyncAsrClient(Settings(triton_endpoint=self.endpoint)) as client:
            async for _ in client.stream([]):  # streams that nobody ended are put away when another request comes
                pass
        return (await asyncio.to_thread(read_activity, self.server.metrics_url, _MODELS)).live_streams

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.server.pid, signal.SIGKILL)

    async def _keep(self) -> None:
        while True:
            await self._start()
            self._ready.set()
            await _end_of_any(server_processes(self.server.pid))
            self._ready.clear()
            self.restarts += 1
            self.last_words = self.server.log_tail()
            await asyncio.to_thread(self.server.kill)  # whatever is left of its processes

    async def _start(self) -> None:
        for attempt in range(_START_ATTEMPTS):
            self.server.start()
            try:
                return await asyncio.to_thread(self.server.wait_ready)
            except ServerStartError:
                if attempt == _START_ATTEMPTS - 1:
                    raise
                await asyncio.to_thread(self.server.kill)
        return None


async def _end_of_any(processes: Sequence[psutil.Process]) -> None:
    """Wait until one of some processes has ended. A server without one of its models does not serve."""
    while all(_runs(process) for process in processes):  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(_POLL_SECS)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
