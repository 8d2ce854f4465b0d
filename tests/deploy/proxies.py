"""The proxies of deploy/proxy, run with the addresses of servers on this machine."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from scripts.serving.ports import free_ports
from tests.conftest import ROOT

CONFIGURATIONS = ROOT / "deploy" / "proxy"


@dataclass(frozen=True)
class Backend:
    """Where a server listens."""

    grpc_port: int
    http_port: int


class Proxy:
    """A running proxy. `servers` stand for asr-1, asr-2 and asr-canary of its configuration."""

    file: str
    program: str

    def __init__(self, folder: Path, servers: dict[str, Backend]) -> None:
        self.folder = folder
        folder.mkdir()
        self.port, self.admin_port = free_ports(2, "127.0.0.1")
        text = (CONFIGURATIONS / self.file).read_text()
        for name, server in servers.items():
            text = self.place(text, name, server)
        assert "asr-1:" not in text
        self.config = folder / self.file
        self.config.write_text(self.adapt(text))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @classmethod
    def found(cls) -> str | None:
        """Path of the program, if it is here."""
        beside_python = Path(sys.executable).with_name(cls.program)
        return (
            str(beside_python) if beside_python.exists() else shutil.which(cls.program, path="/usr/sbin:/usr/bin:/bin")
        )

    def place(self, text: str, name: str, server: Backend) -> str:
        text = re.sub(rf"{name}:8001 port 8000", f"127.0.0.1:{server.grpc_port} port {server.http_port}", text)
        return text.replace(f"{name}:8001", f"127.0.0.1:{server.grpc_port}")

    def adapt(self, text: str) -> str:
        raise NotImplementedError

    def arguments(self) -> list[str]:
        raise NotImplementedError

    def give_canary(self, percent: int) -> None:
        """Give that share of the new streams to asr-canary, as README.md says."""
        raise NotImplementedError

    def __enter__(self) -> Proxy:
        log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen([self.found(), *self.arguments()], stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            time.sleep(0.05)
        self.__exit__()
        raise AssertionError(f"{self.program} does not run:\n{(self.folder / 'log').read_text()[-2000:]}")

    def __exit__(self, *_error) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class HaProxy(Proxy):
    file, program = "haproxy.cfg", "haproxy"

    def adapt(self, text: str) -> str:
        text = text.replace("/run/haproxy/admin.sock", str(self.folder / "admin.sock"))
        return text.replace("bind :8001", f"bind 127.0.0.1:{self.port}")

    def arguments(self) -> list[str]:
        return ["-db", "-f", str(self.config)]

    def give_canary(self, percent: int) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.folder / "admin.sock"))
            connection.sendall(f"experimental-mode on; set var proc.canary_percent int({percent})\n".encode())
            answer = connection.recv(4096).decode()
        assert not answer.strip(), answer


class Nginx(Proxy):
    file, program = "nginx.conf", "nginx"

    def adapt(self, text: str) -> str:
        text = text.replace("/run/nginx.pid", str(self.folder / "nginx.pid"))
        return text.replace("listen 8001", f"listen 127.0.0.1:{self.port}")

    def arguments(self) -> list[str]:
        return ["-c", str(self.config), "-e", "stderr", "-g", "daemon off;"]

    def give_canary(self, percent: int) -> None:
        lines = {0: "# 1% canary;\n        * stable;", 100: "* canary;"}.get(
            percent, f"{percent}% canary;\n        * stable;"
        )
        text = re.sub(
            r"(\$chosen \{\s+).*?(\s+\})",
            lambda match: match[1] + lines + match[2],
            self.config.read_text(),
            flags=re.DOTALL,
        )
        self.config.write_text(text)
        workers = psutil.Process(self.process.pid).children()
        self.process.send_signal(signal.SIGHUP)  # what nginx -s reload does
        # Workers of before end when their streams have; until then they may still take a new one.
        assert not psutil.wait_procs(workers, timeout=20)[1]


class Envoy(Proxy):
    file, program = "envoy.yaml", "envoy"

    def place(self, text: str, name: str, server: Backend) -> str:
        text = re.sub(
            rf"(address: ){name}(, port_value: )8001(.*?port_value: )8000",
            rf"\g<1>127.0.0.1\g<2>{server.grpc_port}\g<3>{server.http_port}",
            text,
            count=1,
            flags=re.DOTALL,
        )
        assert name not in text
        return text

    def adapt(self, text: str) -> str:
        text = text.replace("address: 0.0.0.0, port_value: 8001", f"address: 127.0.0.1, port_value: {self.port}")
        return text.replace("port_value: 9901", f"port_value: {self.admin_port}")

    def arguments(self) -> list[str]:
        return ["-c", str(self.config), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]

    def give_canary(self, percent: int) -> None:
        url = f"http://127.0.0.1:{self.admin_port}/runtime_modify?routing.canary={percent}"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=5) as response:
            assert response.status == 200


PROXIES: tuple[type[Proxy], ...] = (HaProxy, Nginx, Envoy)


@contextlib.contextmanager
def serve(folder: Path, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], Backend, str]]:
    """A server as an operator runs it, ready; gives its process, where it listens, and the URL of its metrics."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.serve", "--runtime-dir", str(folder)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"gRPC \S+:(\d+), HTTP port (\d+), metrics (\S+)", line):
                yield process, Backend(int(found[1]), int(found[2])), found[3]
                break
        else:
            raise AssertionError(f"the server did not start:\n{said}")
    finally:
        process.terminate()
        process.communicate(timeout=60)
