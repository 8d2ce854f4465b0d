"""Memory, handles and processor time of a server's processes, sampled while it works."""

from __future__ import annotations

import csv
import statistics
import threading
import time
from pathlib import Path
from types import TracebackType

import psutil

_SERVER = "tritonserver"
_COLUMNS = ["elapsed_secs", "pid", "process", "private_mb", "handles", "threads", "cpu_secs"]


def server_processes(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants that still live."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


class ProcessSampler:
    """Appends one row a process to a CSV file, every few seconds, until it is left."""

    def __init__(self, pid: int, path: Path, *, every_secs: float, elapsed_secs: float = 0.0) -> None:
        """Prepare.

        Args:
            pid: of the server.
            path: CSV file; rows are added to what is there.
            every_secs: distance of samples.
            elapsed_secs: what an earlier part of the same run took.
        """
        self._pid, self._path, self._every_secs = pid, path, every_secs
        self._began = time.monotonic() - elapsed_secs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process sampler", daemon=True)

    def __enter__(self) -> ProcessSampler:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End after one more sample."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        fresh = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(_COLUMNS)
            while True:
                last = self._stop.wait(self._every_secs)
                writer.writerows(self._sample())
                file.flush()
                if last:
                    return

    def _sample(self) -> list[list[object]]:
        rows: list[list[object]] = []
        elapsed = round(time.monotonic() - self._began, 1)
        try:
            processes = server_processes(self._pid)
        except psutil.NoSuchProcess:
            return rows
        for process in processes:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    rows.append(
                        [
                            elapsed,
                            process.pid,
                            process.name(),
                            round(process.memory_full_info().uss / 1e6, 1),
                            process.num_fds(),
                            process.num_threads(),
                            round(times.user + times.system, 2),
                        ]
                    )
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue  # it ended just now
        return rows


def growth(path: Path) -> dict[str, tuple[float, float]]:
    """Return private memory in MB of each process, medians of the first and the last quarter of its samples."""
    found = {}
    for name, samples in _samples(path).items():
        values = [private_mb for _, private_mb, _ in samples]
        quarter = max(1, len(values) // 4)
        found[name] = (sorted(values[:quarter])[quarter // 2], sorted(values[-quarter:])[quarter // 2])
    return found


def slopes(path: Path) -> dict[str, tuple[float, float]]:
    """Return MB and handles an hour that each process gained, by least squares without its first quarter."""
    found = {}
    for name, samples in _samples(path).items():
        times, *columns = zip(*samples[len(samples) // 4 :], strict=True)
        if len(set(times)) > 1:
            memory, handles = (3600 * statistics.linear_regression(times, column).slope for column in columns)
            found[name] = (memory, handles)
    return found


def _samples(path: Path) -> dict[str, list[tuple[float, float, float]]]:
    """Return the samples of each process of the server that ran last: seconds, private MB, handles.

    A run that was gone on with has a server for each of its parts.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    servers = [row["pid"] for row in rows if row["process"] == _SERVER]
    first = next((index for index, row in enumerate(rows) if servers and row["pid"] == servers[-1]), 0)
    samples: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows[first:]:
        values = (float(row["elapsed_secs"]), float(row["private_mb"]), float(row["handles"]))
        samples.setdefault(f"{row['process']} {row['pid']}", []).append(values)
    return samples
