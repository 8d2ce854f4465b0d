"""Audio through shared memory against audio in gRPC messages, by the client library, in one run and in turn.

`python -m loadtest.shared_memory --rounds 7 --out docs/measurements/shared_memory.json`
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import psutil

from amira_asr import AsyncAsrClient, Settings, load_audio
from amira_asr.audio import Float32
from loadtest.processes import server_processes
from scripts.measurement import write_measurement
from scripts.serving.server import TritonServer
from scripts.serving.temporary import serve

ROOT = Path(__file__).resolve().parents[1]
CHUNK_SAMPLES = 8960
RATE = 16000
Way = Literal["off", "system"]
Work = Callable[[AsyncAsrClient], Awaitable[tuple[list[float], list[str]]]]


@dataclass(frozen=True)
class Cost:
    """What one request costs, medians of all rounds; milliseconds.

    Attributes:
        client_cpu_ms: processor time of the client.
        server_cpu_ms: of all processes of the server.
        latency_ms: from sending to the response.
    """

    client_cpu_ms: float
    server_cpu_ms: float
    latency_ms: float


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of both ways, in turn (default 7)")
    parser.add_argument("--streams", type=int, default=8, help="streams at once (default 8)")
    parser.add_argument("--chunks", type=int, default=24, help="chunks per stream (default 24)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    clips = sorted((ROOT / "tests" / "data" / "audio").glob("*.flac"))
    speech = np.concatenate([load_audio(clip) for clip in clips])
    with serve(ROOT / "model-repo", open_interfaces=frozenset({"shared-memory"})) as server:
        streams = np.resize(speech, arguments.chunks * CHUNK_SAMPLES)
        rows = {
            f"{arguments.streams} streams": _compare(server, _streaming(streams, arguments.streams), arguments.rounds),
            "recordings of 30 s": _compare(server, _recordings(np.resize(speech, 30 * RATE), 3), arguments.rounds),
        }
    print(f"{'':20}{'audio in':>14}{'client CPU':>12}{'server CPU':>12}{'latency':>10}")
    for name, ways in rows.items():
        for way, cost in ways.items():
            shown = "gRPC message" if way == "off" else "shared memory"
            print(f"{name:20}{shown:>14}{cost.client_cpu_ms:12.2f}{cost.server_cpu_ms:12.2f}{cost.latency_ms:10.1f}")
    print("(milliseconds per request: a chunk of 560 ms, 36 kB; or 30 s, 1.9 MB)")
    if arguments.out:
        figures = {name: {way: asdict(cost) for way, cost in ways.items()} for name, ways in rows.items()}
        write_measurement(arguments.out, {"rounds": arguments.rounds, "rows": figures})
    return 0


def _compare(server: TritonServer, work: Work, rounds: int) -> dict[Way, Cost]:
    return asyncio.run(_rounds(server, work, rounds))


async def _rounds(server: TritonServer, work: Work, rounds: int) -> dict[Way, Cost]:
    ways: tuple[Way, ...] = ("off", "system")
    costs: dict[Way, list[Cost]] = {way: [] for way in ways}
    texts: set[tuple[str, ...]] = set()
    clients = {way: AsyncAsrClient(Settings(triton_endpoint=server.grpc_endpoint, shared_memory=way)) for way in ways}
    for number in range(rounds + 1):
        for way in ways if number % 2 else reversed(ways):
            ours, theirs = time.process_time(), _cpu_secs(server.pid)
            latencies, heard = await work(clients[way])
            texts.add(tuple(heard))
            requests = len(latencies)
            cost = Cost(
                client_cpu_ms=(time.process_time() - ours) / requests * 1e3,
                server_cpu_ms=(_cpu_secs(server.pid) - theirs) / requests * 1e3,
                latency_ms=statistics.median(latencies),
            )
            if number:  # the first is to warm up
                costs[way].append(cost)
    for client in clients.values():
        await client.close()
    if len(texts) != 1:
        raise RuntimeError("the two ways gave different texts")
    return {
        way: Cost(*(statistics.median(getattr(cost, name) for cost in costs[way]) for name in Cost.__annotations__))
        for way in ways
    }


def _streaming(audio: Float32, count: int) -> Work:
    async def one(client: AsyncAsrClient) -> tuple[list[float], str]:
        events = [event async for event in client.stream(np.array_split(audio, 10))]
        return [event.latency_ms for event in events], events[-1].text

    async def work(client: AsyncAsrClient) -> tuple[list[float], list[str]]:
        done = await asyncio.gather(*(one(client) for _ in range(count)))
        return [latency for latencies, _ in done for latency in latencies], [text for _, text in done]

    return work


def _recordings(audio: Float32, count: int) -> Work:
    async def work(client: AsyncAsrClient) -> tuple[list[float], list[str]]:
        done = [await client.transcribe(audio) for _ in range(count)]
        return [final.latency_ms for final in done], [final.text for final in done]

    return work


def _cpu_secs(pid: int) -> float:
    times = [process.cpu_times() for process in server_processes(pid) if process.status() != psutil.STATUS_ZOMBIE]
    return sum(item.user + item.system for item in times)


if __name__ == "__main__":
    sys.exit(main())
