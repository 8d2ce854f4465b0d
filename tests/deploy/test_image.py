"""The Dockerfile: linted, parsed, and what it copies is there. `make rehearse-image` does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.image.dockerfile import Dockerfile
from tests.conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCKERFILE = Dockerfile(ROOT / "Dockerfile")
FINAL = ("cpu", "gpu", "engines", "gateway")
SENT = exclude_paths(str(ROOT), (ROOT / ".dockerignore").read_text().splitlines())


def program(name):
    beside_python = Path(sys.executable).parent / name
    found = shutil.which(name) or (str(beside_python) if beside_python.exists() else None)
    if found is None:
        pytest.skip(f"{name} is missing: make .venv/deploy")
    return found


def test_hadolint_has_nothing_to_say():
    done = subprocess.run(
        [program("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_last_stage_is_what_a_plain_build_makes():
    assert list(DOCKERFILE.stages)[-1] == "gpu"


def test_base_images_are_pinned_and_one_argument_says_which_triton():
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^ARG (.*)", text, re.MULTILINE) == ["TRITON_VERSION=24.10"]
    bases = {stage.base for stage in DOCKERFILE.stages.values()} - set(DOCKERFILE.stages) - {"scratch"}
    assert all(re.search(r":(\d|\$\{TRITON_VERSION\})", base) for base in bases), bases


@pytest.mark.parametrize("target", FINAL)
def test_every_image_says_what_it_is_and_how_to_run_it(target):
    labels = DOCKERFILE.last(target, "LABEL").value
    for name in ("title", "description", "licenses", "version"):
        assert f"org.opencontainers.image.{name}=" in labels
    assert DOCKERFILE.last(target, "ENTRYPOINT").value.startswith("["), "signals must reach the program"
    if target != "engines":
        assert DOCKERFILE.last(target, "HEALTHCHECK")
        assert DOCKERFILE.last(target, "STOPSIGNAL").value == "SIGTERM"


@pytest.mark.parametrize("target", FINAL)
def test_compilers_and_pip_stay_in_stages_that_are_left_behind(target):
    own = [item.value for item in DOCKERFILE.inherited(target) if item.name == "RUN"]
    assert not [line for line in own if "apt-get" in line or "pip install" in line]
    source = next(name for name in DOCKERFILE.stages[target].sources if name.startswith("packages"))
    assert DOCKERFILE.stages[source].all("RUN")[-1].value.endswith("pip uninstall -y setuptools pip")


@pytest.mark.parametrize("stage", [stage for stage in DOCKERFILE.stages.values() if stage.all("COPY")])
def test_whatever_is_copied_is_sent(stage):
    for item in stage.all("COPY"):
        words = item.words()
        if not any(word.startswith("--from") for word in words):
            for source in words[:-1]:
                assert [name for name in SENT if name == source or name.startswith(f"{source}/")], source


def test_nothing_else_is_sent():
    copied = {
        word.split("/")[0]
        for stage in DOCKERFILE.stages.values()
        for item in stage.all("COPY")
        for word in item.words()[:-1]
        if not word.startswith("--") and not word.startswith("/")
    }
    # The builder needs the file itself, and .dockerignore.
    assert {name.split("/")[0] for name in SENT} - {"Dockerfile", ".dockerignore"} == copied
    assert not [
        name for name in SENT if "__pycache__" in name or name.startswith(("scripts/train/", "clients/javascript/"))
    ]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("gpu", "run('scripts.serve', '--print-config'); import scripts.switch"),
        (
            "engines",
            "run('scripts.engines.provision', '--help'); import scripts.engines.variants, scripts.export.layout",
        ),
    ],
)
def test_an_image_has_what_its_command_imports(target, code):
    """Python finds every module of ours among what is copied."""
    stages = [DOCKERFILE.stages["application"], DOCKERFILE.stages[target]]
    copied = [word for stage in stages for item in stage.all("COPY") for word in item.words()[:-1]]
    program = f"""
import runpy, sys
def run(module, argument):
    sys.argv = [module, argument]
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        assert not end.code, end.code
{code}
print(*(m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)), sep="\\n")
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'clients'}:{ROOT / 'backends'}"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ours = [line for line in done.stdout.splitlines() if line.startswith((f"{ROOT}/scripts/", f"{ROOT}/backends/"))]
    assert len(ours) > 5
    for file in ours:
        name = str(Path(file).relative_to(ROOT))
        assert any(name == source or name.startswith(f"{source}/") for source in copied), f"{name} is not in the image"


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("image.txt", ["backends", "lm"]), ("gateway.txt", ["gateway"]), ("engine-builder.txt", ["engine-builder"])],
)
def test_images_have_every_package_that_the_project_names(lock, extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    named = {canonicalize_name(Requirement(entry).name) for entries in lists for entry in entries}
    locked = set(re.findall(r"^([a-z0-9_.-]+)==", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))
    assert len(named) > 8
    assert named <= locked, f"{named - locked}: run `make lock`"
