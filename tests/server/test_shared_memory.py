"""Audio through shared memory: the same words as through gRPC, and nothing left behind, even by a killed client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tritonclient import grpc

from amira_asr import AsrClient, InvalidRequest, Settings
from amira_asr.transport import shared
from amira_asr.transport.regions import NAME_PREFIX, SystemRegion, remove_stale
from scripts.serving.server import TritonServer
from scripts.serving.staging import RepositorySettings
from tests.conftest import ROOT, start_server

SHM = Path("/dev/shm")  # noqa: S108
pytestmark = pytest.mark.skipif(not SHM.is_dir(), reason="needs /dev/shm")


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    """A server that lets clients register shared memory."""
    closed = start_server(tmp_path_factory.mktemp("open"), RepositorySettings())
    with TritonServer(replace(closed.options, open_interfaces=frozenset({"shared-memory"}))) as running:
        yield running


@pytest.fixture
def settings(open_server):
    return Settings(triton_endpoint=open_server.grpc_endpoint, shared_memory="system")


def registered(server):
    status = grpc.InferenceServerClient(server.grpc_endpoint).get_system_shared_memory_status(as_json=True)
    return {name for name in status.get("regions", {}) if name.startswith(NAME_PREFIX)}


def here():
    return {path.name for path in SHM.glob(f"{NAME_PREFIX}*")}


def test_the_same_words_and_nothing_left(server, open_server, settings, clips):
    with AsrClient(Settings(triton_endpoint=server.grpc_endpoint)) as plain:
        expected = [event.text for event in plain.stream([clips[0].audio])]
        whole = plain.transcribe(clips[0].audio)
    before = here()
    with AsrClient(settings) as client:
        assert [event.text for event in client.stream([clips[0].audio])] == expected
        assert client.transcribe(clips[0].audio).tokens == whole.tokens
        assert len(registered(open_server)) == 2  # of chunks, and of whole recordings
        assert registered(open_server) <= here()
    assert not registered(open_server)
    assert here() <= before


def test_a_closed_server_says_how_to_open_it(server):
    with (
        AsrClient(Settings(triton_endpoint=server.grpc_endpoint, shared_memory="system")) as client,
        pytest.raises(InvalidRequest, match="AMIRA_OPEN_INTERFACES"),
    ):
        list(client.stream([np.zeros(16000, np.float32)]))


def test_what_a_killed_client_left_is_removed_by_the_next(open_server, settings, clips, monkeypatch):
    monkeypatch.setattr(shared, "_SETTLE_SECS", 0.2)
    code = (
        "import time; from amira_asr import AsrClient; c = AsrClient(); "
        "e = c.stream(b'\\0' * 320000 for _ in range(9)); next(e); print(flush=True); time.sleep(99)"
    )
    environment = {
        **os.environ,
        "AMIRA_TRITON_ENDPOINT": open_server.grpc_endpoint,
        "AMIRA_SHARED_MEMORY": "system",
        "PYTHONPATH": str(ROOT / "clients"),
    }
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        left = registered(open_server)
        assert left
        assert left <= here()
        process.send_signal(signal.SIGKILL)
    with AsrClient(settings) as client:
        assert client.transcribe(clips[1].audio).text
        deadline = time.monotonic() + 60
        while left & (registered(open_server) | here()):
            assert time.monotonic() < deadline, "a dead client's memory is still there"
            time.sleep(0.1)


def test_memory_of_a_live_process_is_left_alone():
    region = SystemRegion(4096)
    remove_stale()
    assert region.name in here()
    region.destroy()
    assert region.name not in here()
    stale = SHM / f"{NAME_PREFIX}nobody"
    stale.touch()
    remove_stale()
    assert not stale.exists()


def test_a_restarted_server_is_told_again(open_server, settings, clips):
    with AsrClient(settings.model_copy(update={"resume_timeout_secs": 100.0})) as client:
        expected = client.transcribe(clips[0].audio).text
        stream = client.stream(np.array_split(clips[0].audio, 12))
        next(stream)
        os.killpg(open_server.pid, signal.SIGKILL)
        open_server.stop()
        open_server.start()
        assert list(stream)[-1].text == expected
        assert client.transcribe(clips[0].audio).text == expected
