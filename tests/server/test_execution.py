"""Graphs whose caches lie on a device, under the real Triton: the same tokens, and no GPU is said to be none."""

from __future__ import annotations

import importlib.util
import time
import urllib.request
from pathlib import Path

import onnxruntime
import pytest

from scripts.goldens import Goldens
from scripts.serving.draining import read_work
from scripts.serving.server import ServerStartError
from scripts.serving.staging import RepositorySettings
from tests.conftest import ROOT, start_server
from tests.server.streams import Streams

needs_torch = pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="torch is not installed")


def slots_used(metrics_url: str) -> set[float]:
    with urllib.request.urlopen(metrics_url) as response:
        lines = response.read().decode().splitlines()
    return {float(line.rpartition(" ")[2]) for line in lines if line.startswith("amira_cache_slots_used{")}


@pytest.mark.parametrize(
    ("execution", "features"), [("onnxruntime:cpu", "cpu"), pytest.param("torch:cpu", "torch:cpu", marks=needs_torch)]
)
def test_tokens_are_those_of_nemo_and_every_slot_is_given_back(tmp_path, clips, execution, features):
    goldens = Goldens.load(ROOT / "tests" / "goldens")
    golden = {Path(path).stem: recording for path, recording in goldens.clips.items()}
    settings = RepositorySettings(execution=execution, features_execution=features)
    with start_server(tmp_path, settings) as server:
        streams = Streams(server.grpc_endpoint)
        for clip in clips[:2]:
            assert streams.stream(clip.audio)[-1].tokens == golden[clip.name].tokens
            assert streams.batch(clip.audio).tokens == golden[clip.name].tokens
        deadline = time.monotonic() + 20
        while (used := slots_used(server.metrics_url)) != {0.0} and time.monotonic() < deadline:
            time.sleep(0.2)
        searches = read_work(server.metrics_url).executions["decoder_greedy"]
    assert used == {0.0}
    assert searches > 0


def test_a_gpu_that_is_not_there_ends_the_start_with_the_reason(tmp_path):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is built for GPUs")
    server = start_server(tmp_path, RepositorySettings(execution="onnxruntime:cuda"))
    with pytest.raises(ServerStartError, match="install onnxruntime-gpu instead of onnxruntime"), server:
        pass
