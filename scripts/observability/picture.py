"""What the dashboard shows during a load test, as a picture for the docs: `make dashboard-picture`.

A real server, Locust's callers at the pace of speech, and a real Prometheus that answers the dashboard's own queries.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt

from scripts.observability.dashboard import ROWS, Panel, query_of
from scripts.observability.local_prometheus import Prometheus, local_prometheus
from scripts.serving.server import TritonServer
from scripts.serving.server_options import ServerOptions
from scripts.serving.staging import RepositorySettings, stage_repository

ROOT = Path(__file__).resolve().parents[2]
_COLUMNS = 4
_STEP_SECS = 2.0
_SETTLE_SECS = 5.0
_Float64 = npt.NDArray[np.float64]


def main() -> int:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--peak", type=int, default=24, help="most callers; every other one sends whole recordings")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "dashboard.png")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage_repository(ROOT / "model-repo", folder / "model-repo", RepositorySettings(max_concurrent_streams=32))
        with (
            TritonServer(ServerOptions(folder / "model-repo", folder)) as server,
            local_prometheus(folder, server.metrics_url) as prometheus,
        ):
            began = time.time()
            call(server.grpc_endpoint, folder, arguments.peak, arguments.seconds)
            time.sleep(_SETTLE_SECS)
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            draw(prometheus, began, time.time(), arguments.out)
    print(arguments.out)
    return 0


def call(endpoint: str, folder: Path, peak: int, seconds: float) -> None:
    """Send Locust's callers. Raises CalledProcessError when it fails."""
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(ROOT / "loadtest" / "locustfile.py"),
        "StreamUser",
        "BatchUser",
    ]
    command += ["--headless", "--host", endpoint, "--only-summary", "--loglevel", "ERROR"]
    command += ["--totals", str(folder / "totals.json"), "--slo", "errors=50"]
    command += ["--shape", "ramp", "--peak", str(peak), "--seconds", str(seconds)]
    subprocess.run(command, cwd=ROOT, check=True)


def draw(prometheus: Prometheus, start: float, end: float, out: Path) -> None:
    """Draw every panel of the dashboard from `start` to `end`, Unix times."""
    mpl.use("Agg")
    panels = [panel for row in ROWS.values() for panel in row]
    figure, axes = plt.subplots(-(-len(panels) // _COLUMNS), _COLUMNS, figsize=(18, 15), layout="constrained")
    for panel, axis in zip(panels, axes.flat, strict=False):
        axis.set_title(f"{panel.title} [{panel.unit}]", fontsize=9, loc="left")
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
        for label, times, values in _series(prometheus, panel, start, end):
            axis.plot(times - start, values, label=label, linewidth=1.2)
        axis.set_ylim(bottom=0)
        if axis.lines:
            axis.legend(fontsize=6, loc="upper left", ncols=2)
    figure.savefig(out, dpi=70)
    plt.close(figure)


def _series(prometheus: Prometheus, panel: Panel, start: float, end: float) -> list[tuple[str, _Float64, _Float64]]:
    found = []
    for legend, query in panel.queries:
        expression = query_of(query, 'instance=~".*"').replace("$__rate_interval", "10s")
        for labels, points in prometheus.query_range(expression, start, end, _STEP_SECS):
            label = legend
            for name, value in labels.items():
                label = label.replace("{{" + name + "}}", "server" if name == "instance" else value)
            times, values = np.array(points, np.float64).T
            if np.nanmax(values, initial=0.0) > 0:
                found.append((label, times, values))
    return found


if __name__ == "__main__":
    sys.exit(main())
