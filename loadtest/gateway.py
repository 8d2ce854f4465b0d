"""What the gateway costs: the same streams and recordings straight to Triton and through it, in turn, in one run.

    python -m loadtest.gateway [--out figures.json]

Streams are sent at the pace of speech, by `AsyncAsrClient` and by WebSocket. A chunk's latency is the time from handing
its last sample over to having its transcript. The gateway's processor time includes the client library inside it, which
the direct way spends in the caller instead.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import psutil
from websockets.asyncio.client import connect

from amira_asr import AsyncAsrClient, Settings
from loadtest.bench import clip_speech
from scripts.measurement import write_measurement
from scripts.serving.temporary import serve

ROOT = Path(__file__).resolve().parents[1]
STREAMS = (1, 8, 32)
CHUNK_SAMPLES, CHUNK_SECS = 8960, 0.56
RECORDING_SECS = 10
RECORDINGS = 16

Latencies = list[float]
Transport = Callable[[bytes, float], Awaitable[Latencies]]


@dataclass(frozen=True)
class Row:
    """One number of streams. Times in milliseconds."""

    streams: int
    direct_p50_ms: float
    direct_p95_ms: float
    gateway_p50_ms: float
    gateway_p95_ms: float
    added_p50_ms: float
    gateway_cpu_ms_per_chunk: float


@dataclass(frozen=True)
class BatchRow:
    """Recordings of 10 s, four at a time. Times in milliseconds."""

    direct_ms: float
    gateway_ms: float
    gateway_cpu_ms: float


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of direct and gateway, in turn (default 3)")
    parser.add_argument("--chunks", type=int, default=10, help="chunks per stream (default 10)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    with serve(ROOT / "model-repo") as triton, gateway_process(triton.grpc_endpoint, {}) as gateway:
        rows, batch = asyncio.run(_measure(triton.grpc_endpoint, *gateway, arguments.rounds, arguments.chunks))
    print(f"{'streams':>8} {'direct p50':>11} {'p95':>6} {'gateway p50':>12} {'p95':>6} {'gateway CPU a chunk':>20}")
    for row in rows:
        print(
            f"{row.streams:8d} {row.direct_p50_ms:11.1f} {row.direct_p95_ms:6.1f} {row.gateway_p50_ms:12.1f} "
            f"{row.gateway_p95_ms:6.1f} {row.gateway_cpu_ms_per_chunk:20.2f}"
        )
    print(f"recordings of {RECORDING_SECS} s: {batch}")
    if arguments.out:
        write_measurement(arguments.out, {"rows": [asdict(row) for row in rows], "batch": asdict(batch)})
    return 0


async def _measure(
    endpoint: str, port: int, process: psutil.Process, rounds: int, chunks: int
) -> tuple[list[Row], BatchRow]:
    async with AsyncAsrClient(Settings(triton_endpoint=endpoint)) as client:
        direct, gateway = partial(_direct, client), partial(_through_gateway, port)
        rows = []
        for count in STREAMS:
            waveforms = [_pcm(audio) for audio in clip_speech(chunks * CHUNK_SAMPLES)(count)]
            straight: Latencies = []
            around: Latencies = []
            spent = []
            for number in range(rounds + 1):
                one = await _round(direct, waveforms)
                before = _cpu_secs(process)
                other = await _round(gateway, waveforms)
                if number:  # the first round only warms up
                    straight += one
                    around += other
                    spent.append((_cpu_secs(process) - before) * 1e3 / (count * chunks))
            rows.append(_row(count, straight, around, spent))
        return rows, await _recordings(client, port, process)


async def _direct(client: AsyncAsrClient, data: bytes, delay: float) -> Latencies:
    """Stream samples straight to Triton; return the latency of each chunk."""
    sent: Latencies = []

    async def audio() -> AsyncIterator[bytes]:
        async for piece in _paced(data, delay):
            sent.append(time.perf_counter())
            yield piece

    found: Latencies = []
    async for _ in client.stream(audio()):
        if len(found) < len(sent):  # the final transcript is of no chunk
            found.append((time.perf_counter() - sent[len(found)]) * 1e3)
    return found


async def _through_gateway(port: int, data: bytes, delay: float) -> Latencies:
    """Stream samples through the gateway; return the latency of each chunk."""
    sent: Latencies = []
    found: Latencies = []
    async with connect(f"ws://127.0.0.1:{port}/v2/decode/stream/default") as socket:

        async def send() -> None:
            async for piece in _paced(data, delay):
                sent.append(time.perf_counter())
                await socket.send(piece)
            await socket.send(b"\x00")

        sending = asyncio.ensure_future(send())
        async for _ in socket:
            if len(found) < len(sent):
                found.append((time.perf_counter() - sent[len(found)]) * 1e3)
        await sending
    return found


def _row(count: int, straight: Latencies, around: Latencies, spent: list[float]) -> Row:
    direct, gateway = np.percentile(straight, [50, 95]), np.percentile(around, [50, 95])
    return Row(
        streams=count,
        direct_p50_ms=float(direct[0]),
        direct_p95_ms=float(direct[1]),
        gateway_p50_ms=float(gateway[0]),
        gateway_p95_ms=float(gateway[1]),
        added_p50_ms=float(gateway[0] - direct[0]),
        gateway_cpu_ms_per_chunk=statistics.median(spent),
    )


async def _round(transport: Transport, waveforms: list[bytes]) -> Latencies:
    """Return the latencies of all chunks; streams begin evenly over one chunk."""
    step = CHUNK_SECS / len(waveforms)
    results = await asyncio.gather(*(transport(data, index * step) for index, data in enumerate(waveforms)))
    return [latency for result in results for latency in result]


async def _recordings(client: AsyncAsrClient, port: int, process: psutil.Process) -> BatchRow:
    """Return the medians for whole recordings, direct and through the gateway in turn."""
    waveforms = [_pcm(audio) for audio in clip_speech(RECORDING_SECS * 16000)(RECORDINGS)]
    turn = asyncio.Semaphore(4)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:

        async def post(data: bytes) -> object:
            return (await http.post("/v2/decode/batch/default", content=data)).raise_for_status()

        async def timed(call: Callable[[bytes], Awaitable[object]], data: bytes) -> float:
            async with turn:
                began = time.perf_counter()
                await call(data)
                return (time.perf_counter() - began) * 1e3

        direct, gateway, spent = [], [], []
        for number in range(4):
            one = await asyncio.gather(*(timed(client.transcribe, data) for data in waveforms))
            before = _cpu_secs(process)
            other = await asyncio.gather(*(timed(post, data) for data in waveforms))
            if number:
                direct += one
                gateway += other
                spent.append((_cpu_secs(process) - before) * 1e3 / RECORDINGS)
    return BatchRow(statistics.median(direct), statistics.median(gateway), statistics.median(spent))


async def _paced(data: bytes, delay: float) -> AsyncIterator[bytes]:
    """Yield the chunks of 16-bit samples at the pace of speech."""
    began = time.perf_counter() + delay
    size = 2 * CHUNK_SAMPLES
    for number, start in enumerate(range(0, len(data), size)):
        await asyncio.sleep(max(0.0, began + number * CHUNK_SECS - time.perf_counter()))
        yield data[start : start + size]


def _pcm(audio: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bytes:
    return np.round(audio * 32767).astype("<i2").tobytes()


def _cpu_secs(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@contextmanager
def gateway_process(endpoint: str, variables: dict[str, str]) -> Iterator[tuple[int, psutil.Process]]:
    """Run the gateway as a process of its own, with further variables; yield its port and the process."""
    environment = {**os.environ, **variables, "AMIRA_TRITON_ENDPOINT": endpoint}
    command = [sys.executable, "-m", "amira_gateway", "--port", "0"]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, env=environment, stderr=log) as running:
        try:
            port = _port(running, Path(f"/proc/self/fd/{log.fileno()}"))
            yield port, psutil.Process(running.pid)
        finally:
            running.kill()


def _port(running: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until the gateway says where it listens."""
    while running.poll() is None:
        _, found, rest = log.read_text().partition("running on http://127.0.0.1:")
        if found and " " in rest:
            return int(rest.split()[0])
        time.sleep(0.1)
    raise RuntimeError(f"the gateway did not start:\n{log.read_text()}")


if __name__ == "__main__":
    sys.exit(main())
