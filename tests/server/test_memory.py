"""Memory of every server process stays flat over thousands of sequences, half of them abandoned."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import psutil
import pytest
from tritonclient.grpc import aio

from common.parameters import IDLE_MARGIN_SECS
from scripts.serving.staging import RepositorySettings
from tests.conftest import start_server
from tests.server.streams import CHUNK, audio_input, new_id

SEQUENCES = 2000
AT_ONCE = 16
IDLE_SECS = 2.0
WARM_UP = 600  # all abandoned, so that slots are allocated for more sequences than are live later
ALLOWED_GROWTH_MIB = 24.0


@pytest.fixture
def impatient_server(tmp_path):
    settings = RepositorySettings(max_concurrent_streams=1000, stream_timeout_secs=IDLE_SECS)
    with start_server(tmp_path, settings) as running:
        yield running


def private_mib(pid) -> dict[str, float]:
    """Private memory of the server and each backend process, MiB, by process and model."""
    root = psutil.Process(pid)
    return {
        f"{process.name()} {process.pid}": process.memory_full_info().uss / 2**20
        for process in [root, *root.children(recursive=True)]
    }


async def run_sequences(endpoint, count, abandoned=lambda index: index % 2):
    """Run sequences of a START and an END; those that are `abandoned` never send the END."""
    client = aio.InferenceServerClient(endpoint)
    tensors = audio_input(np.random.default_rng(0).uniform(-0.1, 0.1, CHUNK))
    empty = audio_input([])
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(index):
        async with gate:
            call = {"model_name": "asr_streaming", "sequence_id": new_id()}
            await client.infer(inputs=tensors, sequence_start=True, **call)
            if not abandoned(index):
                await client.infer(inputs=empty, sequence_end=True, **call)

    await asyncio.gather(*(one(index) for index in range(count)))
    await client.close()


async def test_two_thousand_sequences_half_abandoned(impatient_server):
    await run_sequences(impatient_server.grpc_endpoint, WARM_UP, abandoned=lambda index: True)
    await asyncio.sleep(IDLE_SECS + IDLE_MARGIN_SECS)
    await run_sequences(impatient_server.grpc_endpoint, WARM_UP)
    before = private_mib(impatient_server.pid)
    began = time.monotonic()
    await run_sequences(impatient_server.grpc_endpoint, SEQUENCES)
    after = private_mib(impatient_server.pid)
    growth = {name: after[name] - before[name] for name in before}
    print(f"\n{SEQUENCES} sequences, every second abandoned, in {time.monotonic() - began:.0f} s; growth in MiB:")
    for name, mib in growth.items():
        print(f"  {name}: {before[name]:.1f} -> {after[name]:.1f} ({mib:+.1f})")
    assert set(before) == set(after), "a server process was replaced"
    assert max(growth.values()) < ALLOWED_GROWTH_MIB


def test_triton_frees_no_state_that_an_answering_thread_may_still_write_to(server):
    """docs/reliability.md, "Memory that Triton has freed"; `make memcheck` shows the fault itself."""
    (kept,) = (
        int(argument.partition("=")[2])
        for argument in psutil.Process(server.pid).cmdline()
        if argument.startswith("--grpc-infer-allocation-pool-size=")
    )
    assert kept >= 65_536  # requests in flight, and one that every open stream waits for
