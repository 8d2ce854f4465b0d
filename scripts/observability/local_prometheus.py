"""A Prometheus on loopback that scrapes one server, with the shipped configuration and rules."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from scripts.serving.ports import free_ports

FILES = Path(__file__).resolve().parents[2] / "deploy" / "observability"
_READY_SECS = 60.0


class Prometheus:
    """Asks a running one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API. Raises OSError when it does not answer, or not well."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}{query}", timeout=10) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the samples of an expression now, labels and value."""
        return [(one["metric"], float(one["value"][1])) for one in self.get("query", query=expression)["result"]]

    def query_range(
        self, expression: str, start: float, end: float, step_secs: float
    ) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """Return the series of an expression: labels, and (Unix time, value) pairs."""
        data = self.get("query_range", query=expression, start=str(start), end=str(end), step=str(step_secs))
        return [(one["metric"], [(at, float(value)) for at, value in one["values"]]) for one in data["result"]]


@contextlib.contextmanager
def local_prometheus(folder: Path, metrics_url: str, *, scrape_secs: int = 1) -> Iterator[Prometheus]:
    """Run Prometheus in a folder until the context ends; it has scraped the server once when the context begins.

    Raises:
        FileNotFoundError: it is not installed.
        RuntimeError: it ended or did not become ready; the message has its log.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise FileNotFoundError("prometheus is not installed (Debian: apt-get install prometheus)")
    config = yaml.safe_load((FILES / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": f"{scrape_secs}s", "evaluation_interval": f"{scrape_secs}s"}
    config["rule_files"] = [str(FILES / "prometheus" / name) for name in config["rule_files"]]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [urllib.parse.urlsplit(metrics_url).netloc]}]
    file, log = folder / "prometheus.yml", folder / "prometheus.log"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_ports(1, '127.0.0.1')[0]}"
    command = [program, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=output, stderr=output)
    try:
        running = Prometheus(f"http://{address}")
        _wait_for_scrape(running, process, log)
        yield running
    finally:
        process.terminate()
        process.wait(20)


def _wait_for_scrape(running: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if running.query("up"):
                return
        time.sleep(0.2)
    raise RuntimeError(f"prometheus ended or was not ready in time\n{log.read_text(errors='replace')}")
