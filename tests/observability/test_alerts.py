"""Rules: what promtool says of them, and that each alert is explained."""

from __future__ import annotations

import re
import subprocess

import yaml

from tests.conftest import ROOT
from tests.observability.programs import FILES, program

RULES = FILES / "prometheus" / "amira.rules.yml"


def promtool(*arguments):
    return subprocess.run(
        [program("promtool", "prometheus"), *arguments],
        cwd=FILES / "prometheus",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def alerts():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_the_configuration_and_the_rules_are_valid():
    done = promtool("check", "config", "--lint-fatal", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_for_their_fault_and_not_in_health():
    done = promtool("test", "rules", "amira.rules.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_fault_in_the_unit_tests():
    tests = (FILES / "prometheus" / "amira.rules.test.yml").read_text()
    assert [rule["alert"] for rule in alerts() if rule["alert"] not in tests] == []


def test_every_alert_has_a_section_in_the_runbooks_and_every_section_an_alert():
    page = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    names = [rule["alert"] for rule in alerts()]
    assert re.findall(r"^## (Amira\w+)$", page, re.MULTILINE) == names
    for rule in alerts():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("warning", "critical")
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        assert all(f"**{part}:**" in section for part in ("Meaning", "Check", "Fix")), section
