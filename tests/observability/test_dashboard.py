"""The dashboard, and that what it and the alerts ask for is what a server has."""

from __future__ import annotations

import json
import re
import urllib.request

import pytest
import yaml

pytest.importorskip("grafana_foundation_sdk", reason="Grafana's builders need Python 3.11")

from scripts.observability.dashboard import DASHBOARD, ROWS, query_of, render
from scripts.observability.local_prometheus import local_prometheus
from scripts.observability.metrics_table import PAGE
from scripts.observability.metrics_table import render as render_page
from tests.observability.programs import FILES, program
from tests.server.streams import CHUNK, Streams, new_id

RULES = yaml.safe_load((FILES / "prometheus" / "amira.rules.yml").read_text())["groups"]
QUERIES = [query for panels in ROWS.values() for panel in panels for _, query in panel.queries]
EXPRESSIONS = [rule["expr"] for group in RULES for rule in group["rules"]]
NAME = re.compile(r"\b(?:amira|nv)_[a-z_]+\b")


def test_the_file_is_what_the_script_makes():
    assert DASHBOARD.read_text() == render(), "run `make dashboard`"


def test_the_page_has_every_metric():
    page = PAGE.read_text(encoding="utf-8")
    assert page == render_page(page), "run `make dashboard`"


def test_it_is_provisioned():
    board = json.loads(DASHBOARD.read_text())
    sources = yaml.safe_load((FILES / "grafana/provisioning/datasources/datasources.yaml").read_text())["datasources"]
    uids = {source["uid"] for source in sources}
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len(panels) == sum(map(len, ROWS.values()))
    assert {panel["datasource"]["uid"] for panel in panels} <= uids
    assert {target["expr"] for panel in panels for target in panel["targets"]} == {query_of(one) for one in QUERIES}
    ids = [panel["id"] for panel in panels]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert len(set(ids)) == len(ids)


@pytest.mark.server
def test_every_metric_of_dashboard_and_alerts_is_one_of_the_server(server, speech):
    traffic(server, speech)
    with urllib.request.urlopen(server.metrics_url, timeout=5) as response:
        served = {
            re.split(r"[{ ]", line)[0] for line in response.read().decode().splitlines() if line[:1] not in ("", "#")
        }
    for expression in [*QUERIES, *EXPRESSIONS]:
        names = set(NAME.findall(expression))
        assert names <= served, (expression, names - served)


@pytest.mark.server
def test_a_real_prometheus_scrapes_the_server_and_evaluates_rules_and_dashboard(server, speech, tmp_path):
    program("prometheus", "prometheus")
    traffic(server, speech)
    with local_prometheus(tmp_path, server.metrics_url) as running:
        assert [value for _, value in running.query('up{job="amira"}')] == [1]
        assert running.query("sum(amira_audio_seconds_total)")[0][1] >= len(speech) / 16000
        for query in QUERIES:
            running.query(query_of(query, 'instance=~".*"').replace("$__rate_interval", "1m"))
        rules = [rule for group in running.get("rules")["groups"] for rule in group["rules"]]
        assert len(rules) == len(EXPRESSIONS)
        assert {rule["lastError"] for rule in rules if "lastError" in rule} == set()
        described = running.get("metadata")
        assert described["amira_final_seconds"][0]["type"] == "histogram"


def traffic(server, speech):
    """A stream and an utterance."""
    streams = Streams(server.grpc_endpoint)
    identifier = new_id()
    streams.send(identifier, speech[:CHUNK], start=True)
    streams.send(identifier, speech[CHUNK : 2 * CHUNK], end=True)
    streams.batch(speech)
