"""The short version of `make chaos`: few callers, who speak fast, and the faults that do most harm."""

from __future__ import annotations

from loadtest.chaos.__main__ import play_all
from loadtest.chaos.report import totals
from loadtest.chaos.scenarios import SCENARIOS
from loadtest.chaos.site import Footprint
from loadtest.chaos.stage import Outcome

STREAMS = 8
SPEED = 3.0


def test_every_scenario_is_described():
    assert all(play.__doc__ for play in SCENARIOS.values())


async def test_streams_survive_a_killed_server_and_bad_lines():
    outcomes = await play_all(["server killed", "connection slow", "audio damaged", "clients cut off"], STREAMS, SPEED)
    assert [problem for outcome in outcomes for problem in outcome.problems] == []
    killed = outcomes[0]
    assert killed.restarts == 1
    assert killed.recovery_secs
    assert all(outcome.identical + sum(outcome.failed.values()) == STREAMS for outcome in outcomes)
    assert totals(outcomes)["streams"] == len(outcomes) * STREAMS


def test_what_must_not_be_is_a_problem():
    before, after = Footprint(300, 200, 0), Footprint(400, 300, 2)
    outcome = Outcome("x", streams=3, identical=1, failed={"ServerError: broken": 1}, before=before, after=after)
    outcome.judge()
    assert outcome.problems == [
        "1 streams differ",
        "1 streams failed: ServerError: broken",
        "2 streams still hold a place",
        "memory grew from 300 to 400 MB",
        "handles grew from 200 to 300",
    ]
    assert outcome.figures()["failed"] == {"ServerError: broken": 1}
