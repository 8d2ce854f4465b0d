"""Programs that the tests run where they are installed, and a Prometheus on loopback."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from scripts.serving.server import free_ports
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
FILES = DEPLOY / "observability"


def program(name, package):
    """Path of an installed program; the test is skipped where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {package})")
    return path


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url):
        self.url = url

    def get(self, path, **parameters):
        """Ask its API."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}{query}", timeout=10) as response:
            return json.load(response)["data"]

    def query(self, expression):
        """Samples of an expression now: labels and value."""
        return [(one["metric"], float(one["value"][1])) for one in self.get("query", query=expression)["result"]]


@contextlib.contextmanager
def prometheus(folder: Path, metrics_url: str, scrape_secs: int = 1):
    """Run Prometheus with the shipped rules on a server."""
    port = free_ports(1, "127.0.0.1")[0]
    target = urllib.parse.urlsplit(metrics_url).netloc
    config = yaml.safe_load((FILES / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": f"{scrape_secs}s", "evaluation_interval": f"{scrape_secs}s"}
    config["rule_files"] = [str(FILES / "prometheus" / "amira.rules.yml")]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    command = [
        program("prometheus", "prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        running = Prometheus(f"http://127.0.0.1:{port}")
        _wait(running, process, log)
        yield running
    finally:
        process.terminate()
        process.wait(20)


def _wait(running, process, log):
    """Until it has scraped its target."""
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with contextlib.suppress(OSError):
            if running.query("up"):
                return
        time.sleep(0.2)
