"""deploy/compose.yaml as `docker compose config` reads it, which needs no engine."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from amira_asr.settings import Settings
from scripts.image.dockerfile import Dockerfile
from tests.conftest import ROOT
from tests.deploy.test_image import program


def services(*profiles):
    """The services of some profiles."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AMIRA_")}
    options = [option for profile in profiles for option in ("--profile", profile)]
    done = subprocess.run(
        [program("docker-compose"), "-f", ROOT / "deploy" / "compose.yaml", *options, "config", "--format", "json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


@pytest.mark.parametrize(("profile", "names"), [("cpu", {"server-cpu"}), ("gpu", {"server-gpu", "engines"})])
def test_a_profile_is_one_server(profile, names):
    found = services(profile)
    assert set(found) == names
    assert set(services(profile, "gateway")) == names | {"gateway"}
    stages = Dockerfile(ROOT / "Dockerfile").stages
    for service in found.values():
        assert service["build"]["context"] == str(ROOT)
        assert service["build"]["target"] in stages


def test_servers_are_closed_and_have_time_to_finish():
    found = {**services("cpu"), **services("gpu")}
    for name in ("server-cpu", "server-gpu"):
        service = found[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {port["host_ip"] for port in service["ports"]} == {"127.0.0.1"}, "open only to this machine by default"
        drain = float(service["environment"]["AMIRA_SHUTDOWN_TIMEOUT_SECS"])
        assert service["stop_grace_period"] == "1m30s"
        assert drain + 20 <= 90
        assert int(service["mem_limit"]) >= 2 * int(service["shm_size"])
        assert {key.removeprefix("AMIRA_").lower() for key in service["environment"]} <= set(Settings.model_fields)


def test_the_runtime_folder_may_hold_programs():
    """Docker mounts tmpfs noexec, and Triton's Python backend is started from there."""
    for service in {**services("cpu"), **services("gpu")}.values():
        if service["build"]["target"] != "engines":
            mounts = dict(mount.split(":", 1) for mount in service["tmpfs"])
            assert "exec" in mounts["/run/amira"].split(",")
            assert "mode=1777" in mounts["/run/amira"].split(",")
