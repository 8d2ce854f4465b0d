"""`make engines` without TensorRT: what is printed, what is refused and why, and what a build leaves behind.

A stand-in for polygraphy writes its arguments into the engine; what it takes to call the real one is in test_rtx.py.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.engines.builder import build_all, build_engine, gpu_name
from scripts.engines.commands import in_image
from scripts.engines.engine_files import EngineFiles
from scripts.engines.precision import Precision
from scripts.engines.shapes import InputRange
from scripts.engines.tensorrt_version import TensorRTError, check_builder, library_version
from tests.engines.conftest import ROOT

RANGES = {"FEATURES": InputRange((1, 80, 65), (8, 80, 65), (32, 80, 128))}
STAND_IN = """#!/bin/sh
echo "built with: $*"
while [ "$1" != --output ]; do shift; done
echo engine > "$2"
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A function that puts a program on PATH, which holds nothing else but the system's."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def add(name: str, text: str) -> None:
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    return add


@pytest.fixture
def files(tmp_path):
    model = tmp_path / "encoder"
    (model / "1").mkdir(parents=True)
    return EngineFiles(model, "NVIDIA L4", "10.5.0", Precision.FP16)


@pytest.mark.parametrize(
    ("number", "version"), [(100500, "10.5.0"), (101303, "10.13.3"), (110400, "11.4.0"), (100001, "10.0.1")]
)
def test_library_version(number, version):
    assert library_version(number) == version


def test_older_libraries_are_refused():
    with pytest.raises(TensorRTError, match=r"TensorRT 8\.6 is installed; 10 or later"):
        library_version(8601)


@pytest.mark.parametrize("bindings", ["10.5.0", "10.5.0.post1", "10.5.0.26"])
def test_bindings_of_the_same_version_build(bindings):
    check_builder("10.5.0", bindings)


@pytest.mark.parametrize("bindings", ["10.5.1", "10.4.0", "11.5.0", "10.50.0"])
def test_bindings_of_another_version_are_refused_with_both_versions(bindings):
    with pytest.raises(TensorRTError, match=rf"bindings are TensorRT {bindings}, .* is 10\.5\.0: .*Install"):
        check_builder("10.5.0", bindings)


def test_an_engine_is_named_by_gpu_version_and_precision(files):
    assert files.plan.name == "nvidia-l4_tensorrt-10.5.0_fp16.plan"


def test_a_build_leaves_engine_checksum_log_and_a_link_to_serve(files, programs):
    programs("polygraphy", STAND_IN)
    build_engine(Path("encoder.onnx"), files, RANGES)
    assert files.served.resolve() == files.plan.resolve()
    assert not files.served.readlink().is_absolute()
    digest = hashlib.sha256(files.plan.read_bytes()).hexdigest()
    assert files.checksum.read_text() == f"{digest}  {files.plan.name}\n"
    subprocess.run(["sha256sum", "--check", files.checksum.name], cwd=files.checksum.parent, check=True)
    log = files.log.read_text()
    for part in ("FEATURES:[32,80,128]", "--strongly-typed", f"--save-timing-cache {files.timing_cache}"):
        assert log.count(part) == 2  # the command, and what the stand-in got


def test_a_failed_build_says_where_its_log_is_and_the_old_engine_stays(files, programs):
    files.served.write_text("old")
    programs("polygraphy", "#!/bin/sh\necho no such layer; exit 3\n")
    with pytest.raises(TensorRTError, match=r"encoder\.onnx: the build failed with status 3; .*\.log"):
        build_engine(Path("encoder.onnx"), files, RANGES)
    assert "no such layer" in files.log.read_text()
    assert files.served.read_text() == "old"


def test_gpu_name(programs):
    programs("nvidia-smi", "#!/bin/sh\necho NVIDIA H200\necho NVIDIA L4\n")
    assert gpu_name() == "NVIDIA H200"
    programs("nvidia-smi", "#!/bin/sh\nexit 9\n")
    with pytest.raises(TensorRTError, match="no NVIDIA GPU answers here"):
        gpu_name()


def test_nothing_is_built_where_tensorrt_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(TensorRTError, match="no libnvinfer here: build in the Triton image"):
        build_all(tmp_path, {"encoder": Path("encoder.onnx")}, {"encoder": RANGES}, Precision.FP32)


def test_all_engines_are_built_and_served(tmp_path, programs, monkeypatch):
    monkeypatch.setattr("scripts.engines.builder.matching_version", lambda: "10.5.0")
    programs("nvidia-smi", "#!/bin/sh\necho NVIDIA L4\n")
    programs("polygraphy", STAND_IN)
    graphs = {model: Path(f"{model}.onnx") for model in ("encoder", "decoder_joint")}
    for model in graphs:
        (tmp_path / model / "1").mkdir(parents=True)
    built = build_all(tmp_path, graphs, dict.fromkeys(graphs, RANGES), Precision.INT8)
    assert [files.model.name for files in built] == list(graphs)
    for files in built:
        assert files.served.resolve().name == "nvidia-l4_tensorrt-10.5.0_int8.plan"
        assert f"convert {files.model.name}.onnx" in files.log.read_text()


def test_the_image_builds_with_bindings_of_its_own_version():
    command = in_image("some/triton:1", Path("/project"), Path("model-repo"), Precision.INT8)
    assert command[:2] == ["docker", "run"]
    assert command[-3:-1] == ["some/triton:1", "-c"]
    assert "--volume /project:/amira" in " ".join(command)
    script = command[-1]
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0
    assert '-bindings==$version.*"' in script
    assert "scripts.engines build --precision int8 --model-repo model-repo" in script


def test_what_the_image_runs_needs_no_package_but_the_standard_library():
    """The image has neither onnx nor our packages: -S leaves out all that is installed."""
    command = [sys.executable, "-S", "-m", "scripts.engines"]
    environment = {**os.environ, "PYTHONPATH": ""}
    run = subprocess.run([*command, "build", "--dry-run"], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert run.stdout.count(b"polygraphy convert") == 3
    refused = subprocess.run([*command, "build"], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert refused.returncode == 1
    assert b"there is no libnvinfer here" in refused.stderr


def test_dry_run_prints_every_command_and_changes_nothing(tmp_path):
    command = [sys.executable, "-m", "scripts.engines", "all", "--dry-run", "--image", "some/triton:1"]
    before = sorted((ROOT / "model-repo").rglob("*"))
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "docker run" in printed
    assert printed.count("polygraphy convert work/engines/fp16/") == 3
    assert sorted((ROOT / "model-repo").rglob("*")) == before
