"""The GPU profiles under the real Triton: without a GPU, every line of them but who runs the graph.

The staged files name `onnx_sequence` on the CPU again; state, batching, warm-up and rate limits stay the profile's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from scripts.export.profiles import PROFILES
from scripts.goldens import Goldens
from scripts.serving.draining import read_work
from scripts.serving.profile import check_profile
from scripts.serving.server import ServerStartError, TritonServer
from scripts.serving.server_options import ServerOptions
from scripts.serving.staging import RepositorySettings, stage_repository
from tests.conftest import ROOT
from tests.server.streams import Streams

MODELS = ("encoder", "encoder_batch", "decoder_joint")


def staged_server(folder: Path, profile: str) -> TritonServer:
    stage_repository(ROOT / "model-repo", folder / "model-repo", RepositorySettings(stream_timeout_secs=7))
    return TritonServer(ServerOptions(folder / "model-repo", folder, profile=profile))


def run_by_the_python_backend(repository: Path, profile: str) -> None:
    for model in MODELS:
        path = repository / model / "configs" / f"{profile}.pbtxt"
        config = text_format.Parse(path.read_text(), pb.ModelConfig())
        default = text_format.Parse((repository / model / "config.pbtxt").read_text(), pb.ModelConfig())
        for key, value in default.parameters.items():
            config.parameters[key].CopyFrom(value)
        config.ClearField("platform")
        config.ClearField("default_model_filename")
        config.backend = default.backend
        config.instance_group[0].kind = pb.ModelInstanceGroup.KIND_CPU
        path.write_text(text_format.MessageToString(config))


@pytest.mark.parametrize("profile", [profile.name for profile in PROFILES])
def test_triton_takes_all_other_lines_and_tokens_stay_the_same(tmp_path, clips, profile):
    goldens = Goldens.load(ROOT / "tests" / "goldens")
    golden = {Path(path).stem: recording for path, recording in goldens.clips.items()}
    server = staged_server(tmp_path, profile)
    run_by_the_python_backend(tmp_path / "model-repo", profile)
    with server:
        streams = Streams(server.grpc_endpoint)
        configs = {model: streams.client.get_model_config(model).config for model in MODELS}
        for clip in clips:
            assert streams.stream(clip.audio)[-1].tokens == golden[clip.name].tokens
            assert streams.batch(clip.audio).tokens == golden[clip.name].tokens
        warmed = {model: _executions(server, model) for model in ("encoder_batch", "decoder_joint")}
    assert configs["encoder"].sequence_batching.max_sequence_idle_microseconds == 7_000_000
    for config in configs.values():
        assert config.instance_group[0].rate_limiter.resources[0].name == "gpu_steps"
    assert all(count >= 2 for count in warmed.values())
    log = server.log_path.read_text()
    assert "EXEC_COUNT" in log  # Triton's name of the mode in which rate limits count


def _executions(server: TritonServer, model: str) -> int:
    return read_work(server.metrics_url).executions[model]


@pytest.fixture
def repository(tmp_path):
    """A copy of the shipped one, without engines."""
    return Path(shutil.copytree(ROOT / "model-repo", tmp_path / "model-repo", ignore=shutil.ignore_patterns("*.plan")))


def test_a_missing_engine_is_named_with_what_makes_it(repository):
    check_profile(repository, "")
    check_profile(repository, "onnxruntime")
    with pytest.raises(FileNotFoundError, match=r"decoder_joint/1/model\.plan, which is missing: `make engines`"):
        check_profile(repository, "tensorrt")
    for model in MODELS:
        (repository / model / "1" / "model.plan").write_bytes(b"engine")
    check_profile(repository, "tensorrt")
    (repository / "encoder" / "1" / "model.plan").unlink()
    (repository / "encoder" / "1" / "model.plan").symlink_to("../engines/gone.plan")
    with pytest.raises(FileNotFoundError, match=r"encoder/1/model\.plan"):
        check_profile(repository, "tensorrt")


def test_a_repository_without_the_profile_is_refused(repository):
    for path in repository.glob("*/configs/tensorrt.pbtxt"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no models for the profile 'tensorrt'"):
        check_profile(repository, "tensorrt")


def test_serve_says_it_before_triton_starts(tmp_path, repository):
    environment = {**os.environ, "AMIRA_PROFILE": "tensorrt", "AMIRA_MODEL_REPOSITORY": str(repository)}
    command = [sys.executable, "-m", "scripts.serve", "--runtime-dir", str(tmp_path / "run")]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 1
    assert "`make engines` makes it" in run.stderr


@pytest.mark.parametrize("profile", [profile.name for profile in PROFILES])
def test_without_the_backend_the_reason_is_in_the_log(tmp_path, profile):
    """The wheel has neither backend; nothing falls back to the CPU profile in silence."""
    server = staged_server(tmp_path, profile)
    with pytest.raises(ServerStartError, match=profile), server:
        pass
