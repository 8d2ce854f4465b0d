"""What happens around a sequence model's own work, without a server."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from common.admission import Admission
from common.launcher import Launcher
from common.sequence_requests import process_sequences
from common.sequences import SequenceError, SequenceTable, ServerBusy


@dataclass
class FakeRequest:
    sequence_id: str
    start: bool = False
    end: bool = False


@pytest.fixture
def table():
    return SequenceTable(list, idle_secs=60.0)


def count(steps):
    """A model that counts the requests of each sequence."""
    for step in steps:
        if not step.releases:
            step.sequence.state.append(1)
    return [{"count": len(step.sequence.state)} for step in steps]


def test_results_come_back_in_the_order_of_the_requests(table):
    process_sequences(table, [FakeRequest("a", start=True)], count)
    results = process_sequences(table, [FakeRequest("b", start=True), FakeRequest("x"), FakeRequest("a")], count)
    assert results[0] == {"count": 1}
    assert isinstance(results[1], SequenceError)
    assert results[2] == {"count": 2}


def test_end_frees_the_sequence(table):
    process_sequences(table, [FakeRequest("a", start=True, end=True)], count)
    assert len(table) == 0


def test_an_error_fails_its_sequence_alone_until_its_end(table):
    def fail_a(steps):
        return [ValueError("no") if step.sequence.id == "a" else {"ok": 1} for step in steps]

    both = [FakeRequest("a", start=True), FakeRequest("b", start=True)]
    assert [type(result) for result in process_sequences(table, both, fail_a)] == [ValueError, dict]
    again, other = process_sequences(table, [FakeRequest("a"), FakeRequest("b")], count)
    assert "failed earlier (no)" in str(again)
    assert other == {"count": 1}
    assert process_sequences(table, [FakeRequest("a", end=True)], count) == [{"count": 0}]
    assert len(table) == 1


def test_an_error_that_escapes_fails_every_sequence_it_was_about(table):
    def break_down(steps):
        steps[0].sequence.state.append(1)
        raise RecursionError("too deep")

    process_sequences(table, [FakeRequest("idle", start=True)], count)
    both = [FakeRequest("a", start=True), FakeRequest("b", start=True)]
    assert [type(result) for result in process_sequences(table, both, break_down)] == [RecursionError] * 2
    again = process_sequences(table, [FakeRequest("a"), FakeRequest("b"), FakeRequest("idle")], count)
    assert ["failed earlier (too deep)" in str(result) for result in again[:2]] == [True, True]
    assert again[2] == {"count": 2}


def test_a_number_and_its_text_are_different_ids(table):
    process_sequences(table, [FakeRequest(5, start=True), FakeRequest("5", start=True)], count)
    results = process_sequences(table, [FakeRequest("5"), FakeRequest(5)], count)
    assert results == [{"count": 2}, {"count": 2}]
    process_sequences(table, [FakeRequest("5", end=True)], count)
    assert process_sequences(table, [FakeRequest(5)], count) == [{"count": 3}]


def test_a_draining_server_refuses_start_and_nothing_else(table, tmp_path):
    admission = Admission(Launcher(tmp_path))

    def admit(request):
        admission.admit("", sequence_id=request.sequence_id)

    process_sequences(table, [FakeRequest("a", start=True)], count, admit)
    (tmp_path / "draining").touch()
    requests = [FakeRequest("b", start=True), FakeRequest("a", start=True), FakeRequest("a")]
    refused, restarted, going_on = process_sequences(table, requests, count, admit)
    assert isinstance(refused, ServerBusy)
    assert "server is stopping" in str(refused)
    assert isinstance(restarted, ServerBusy)
    assert going_on == {"count": 2}  # what a refused START would have replaced is still there
    assert len(table) == 1
