"""The stack of docker-compose: what can be known of its files without an engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.observability.programs import DEPLOY, FILES

STACK = DEPLOY / "compose.observability.yaml"


def test_every_file_that_is_mounted_exists():
    services = yaml.safe_load(STACK.read_text())["services"]
    mounts = [mount.split(":") for one in services.values() for mount in one.get("volumes", [])]
    files = [DEPLOY / source for source, *_ in mounts if source.startswith("./")]
    assert len(files) >= 5
    assert [file for file in files if not file.exists()] == []
    assert all(mount[-1] == "ro" for mount in mounts if mount[0].startswith("./"))


def test_images_are_pinned_and_ports_stay_on_this_machine():
    for name, service in yaml.safe_load(STACK.read_text())["services"].items():
        if name != "amira":
            assert ":" in service["image"]
            assert not service["image"].endswith(":latest")
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_services_name_each_other():
    services = set(yaml.safe_load(STACK.read_text())["services"])
    for file in (
        "otel-collector.yaml",
        "grafana/provisioning/datasources/datasources.yaml",
        "prometheus/prometheus.yml",
    ):
        text = (FILES / file).read_text()
        hosts = {word.split("://")[1].split(":")[0] for word in text.replace('"', " ").split() if "://" in word}
        assert hosts <= services, (file, hosts)


def test_the_collectors_pipelines_use_what_is_defined():
    config = yaml.safe_load((FILES / "otel-collector.yaml").read_text())
    for pipeline in config["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(config[kind])


def test_compose_reads_it_with_the_server():
    compose = Path(sys.executable).parent / "docker-compose"
    server = DEPLOY / "compose.yaml"
    if not compose.exists() or not server.exists():
        pytest.skip(f"missing: {[str(one) for one in (compose, server) if not one.exists()]}")
    done = subprocess.run(
        [compose, "-f", server, "-f", STACK, "config", "--format=json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert "image" in services["amira"] or "build" in services["amira"]
    assert services["amira"]["environment"]["AMIRA_TRACING_ENDPOINT"].startswith("http://otel-collector:")
