"""A container of a rendered pod, run as the kubelet would, without a container: its command, variables, probes, hooks.

The image's files are this tree, and ports are free ones, since a machine has other servers, too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.image.dockerfile import Dockerfile
from scripts.serving.ports import free_ports
from tests.conftest import ROOT
from tests.deploy.manifests import Manifest, containers_of, of_kind, pod_of, settings_of


@dataclass
class Probe:
    """One probe's answers, as the kubelet counts them."""

    definition: dict[str, Any]
    port: int
    failures: int = 0
    answers: list[bool] = field(default_factory=list)

    def ask(self) -> bool:
        """Ask once."""
        get = self.definition["httpGet"]
        try:
            url = f"http://127.0.0.1:{self.port}{get['path']}"
            with urllib.request.urlopen(url, timeout=self.definition.get("timeoutSeconds", 1)) as response:
                good = response.status == 200
        except (urllib.error.URLError, OSError):
            good = False
        self.answers.append(good)
        self.failures = 0 if good else self.failures + 1
        return good

    @property
    def failed(self) -> bool:
        """Whether the kubelet would act."""
        return self.failures >= self.definition.get("failureThreshold", 3)


class LocalPod:
    """The first container of the first Deployment."""

    def __init__(self, rendered: tuple[Manifest, ...], target: str, folder: Path) -> None:
        """Prepare. `target` is the image's in the Dockerfile, `folder` becomes its /run/amira."""
        self.pod = pod_of(of_kind(rendered, "Deployment")[0])
        self.container = containers_of(self.pod)[0]
        dockerfile = Dockerfile(ROOT / "Dockerfile")
        names = {"grpc": "AMIRA_GRPC_PORT", "http": "AMIRA_HTTP_PORT", "metrics": "AMIRA_METRICS_PORT"}
        self.ports = dict(zip(names, free_ports(3, "0.0.0.0"), strict=True))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AMIRA_")}
        self._environment = {
            **dockerfile.environment(target, inherited),
            **settings_of(rendered, self.container),
            **{variable: str(self.ports[port]) for port, variable in names.items()},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        assert "command" not in self.container, "then the image's ENTRYPOINT does not count"
        program = [*dockerfile.last(target, "ENTRYPOINT").words(), *self.container.get("args", [])]
        self._command = [sys.executable if word == "python3" else word for word in program]
        self._command = [str(folder) if word == "/run/amira" else word for word in self._command]
        self._process: subprocess.Popen[bytes] | None = None
        self._going = threading.Event()
        self.log = folder / "container.log"
        self.restarts = 0
        self.probes = {
            name: Probe(self.container[name], self.ports[self.container[name]["httpGet"]["port"]])
            for name in ("startupProbe", "readinessProbe", "livenessProbe")
        }

    def start(self) -> None:
        """Start it; wait until the startup probe says so, no longer than the kubelet would."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        startup = self.probes["startupProbe"]
        while not startup.ask():
            assert self._process.poll() is None, self.log.read_text()
            assert not startup.failed, "the kubelet would restart it"
            time.sleep(startup.definition["periodSeconds"])
        threading.Thread(target=self._watch, args=(self.probes["livenessProbe"],), daemon=True).start()

    def ready(self) -> bool:
        """Whether the readiness probe lets streams in."""
        return self.probes["readinessProbe"].ask()

    def delete(self, after_hook: Callable[[], None]) -> tuple[int, float]:
        """Do what follows `kubectl delete pod`: the hook, SIGTERM, SIGKILL when the grace period is over.

        Args:
            after_hook: called between hook and signal.

        Returns:
            Exit status of the container, and how many seconds of the grace period were left.
        """
        assert self._process is not None
        began = time.monotonic()
        # The kubelet asks no more whether a container lives that is to go.
        self._going.set()
        hook = self.container["lifecycle"]["preStop"]["exec"]["command"]
        subprocess.run(hook, env=self._environment, check=True)
        after_hook()
        self._process.send_signal(signal.SIGTERM)
        grace = self.pod["terminationGracePeriodSeconds"]
        try:
            status = self._process.wait(min(grace, 120) - (time.monotonic() - began))
        finally:
            self._process.kill()
        return status, grace - (time.monotonic() - began)

    def stop(self) -> None:
        """Make sure that nothing is left."""
        self._going.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)

    def _watch(self, probe: Probe) -> None:
        while not self._going.wait(probe.definition["periodSeconds"] / 10):
            probe.ask()
            self.restarts += int(probe.failed)
