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
    assert [outcome.streams for outcome in outcomes] == [STREAMS, 2 * STREAMS, 2 * STREAMS, STREAMS]
    assert all(outcome.identical + sum(outcome.failed.values()) == outcome.streams for outcome in outcomes)
    assert totals(outcomes)["streams"] == 6 * STREAMS


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


def test_what_a_scenario_adds_when_it_is_played_again_is_a_problem():
    before, once, again = Footprint(300, 200, 0), Footprint(310, 200, 0), Footprint(355, 200, 0)
    outcome = Outcome("x", before=before, after_once=once, after=again)
    outcome.judge()
    assert outcome.problems == ["played again, it grew from 310 to 355 MB"]
    outcome = Outcome("x", before=before, after_once=again, after=once)
    outcome.judge()
    assert outcome.problems == []


def test_the_memory_of_another_process_is_not_compared():
    outcome = Outcome("x", before=Footprint(300, 200, 0), after=Footprint(400, 300, 0), restarts=1, unready_secs=2.0)
    outcome.judge()
    assert outcome.problems == []
