"""What a first step lets in, without a server."""

from __future__ import annotations

import pytest

from common.admission import Admission, RateLimit
from common.client_key import client_key
from common.launcher import Launcher
from common.sequences import Sequence, SequenceTable, ServerBusy
from common.utterance_places import LOST_SECS, AnsweredUtterances, UtterancePlaces
from log_mel.stream import Stream
from log_mel.stream_limits import AHEAD_SECS, StreamLimits


def test_a_client_key_is_found_however_its_header_is_written():
    assert client_key({"beam_size": 4, "X-Amira-Client": "me"}) == "me"
    assert client_key({"beam_size": 4}) == ""


@pytest.mark.parametrize("value", [7, True, "x" * 201])
def test_a_client_key_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match=r"x-amira-client is .*allowed: text of up to 200 characters"):
        client_key({"x-amira-client": value})


def test_each_client_has_its_own_rate():
    admission = Admission(Launcher(), RateLimit("2/minute"))
    for _ in range(2):
        admission.admit("a")
        admission.admit("b")
    with pytest.raises(ServerBusy, match=r"rate limited: client 'a' may start 2 in 60 s; try again in \d+ s"):
        admission.admit("a")
    admission.admit("")
    admission.admit("")
    with pytest.raises(ServerBusy, match="clients that send no x-amira-client"):
        admission.admit("")


def test_the_probe_of_the_launcher_is_never_refused(tmp_path):
    (tmp_path / "draining").touch()
    admission = Admission(Launcher(tmp_path, "secret"), RateLimit("1/day"))
    for _ in range(3):
        admission.admit("", sequence_id="secret")
    table = SequenceTable(list, idle_secs=9.0, capacity=1, exempt_id="secret")
    table.enter("a", start=True, end=False)
    table.enter("secret", start=True, end=True)
    with pytest.raises(ServerBusy, match="server full: 2 of 1"):
        table.enter("b", start=True, end=False)


def test_an_overloaded_server_refuses_what_is_new_and_says_how_much_waits(tmp_path):
    admission = Admission(Launcher(tmp_path))
    admission.admit("")
    (tmp_path / "overloaded").write_text("500 of 400")
    with pytest.raises(ServerBusy, match="server overloaded: 500 of 400 requests wait"):
        admission.admit("")
    (tmp_path / "overloaded").unlink()
    admission.admit("")


def test_a_client_has_so_many_streams():
    limits = StreamLimits(16000, max_streams_per_client=2)
    live = [Sequence(name, Stream(None, client=client), 0.0) for name, client in (("1", "a"), ("2", "a"), ("3", "b"))]
    limits.check_client("b", "4", live)
    limits.check_client("a", "2", live)  # begins anew
    with pytest.raises(ServerBusy, match="client 'a' has 2 of 2 streams"):
        limits.check_client("a", "4", live)


def test_a_stream_is_so_long():
    limits, stream = StreamLimits(16000, max_stream_secs=2.0), Stream(None)
    limits.receive(stream, 32000, None)
    with pytest.raises(ValueError, match=r"stream has 2\.5 s of audio; allowed: up to 2 s \(max_stream_secs\)"):
        limits.receive(stream, 8000, None)


def test_only_who_runs_ahead_is_stopped_while_too_much_waits():
    now = 100.0
    limits, stream = StreamLimits(16000, clock=lambda: now), Stream(None, started=100.0)
    limits.receive(stream, round(16000 * AHEAD_SECS), "9 of 8")
    limits.receive(stream, 16000, None)
    with pytest.raises(ServerBusy, match="runs 62 s ahead of real time while 9 of 8 requests wait"):
        limits.receive(stream, 16000, "9 of 8")
    now += 10.0
    limits.receive(stream, 16000, "9 of 8")


@pytest.fixture
def inside(tmp_path):
    """The two ends of a pipeline with two places, and a clock."""

    class Inside:
        now = 0.0
        answered = AnsweredUtterances(tmp_path / "batch")
        places = UtterancePlaces(tmp_path / "batch", 2, lambda: Inside.now)

    return Inside


def named(*names):
    """Utterances whose clients gave a request ID."""
    return [(0, name) for name in names]


def enter(inside, *utterances):
    for utterance in utterances:
        inside.places.enter(utterance)


def test_an_answer_frees_a_place(inside):
    inside.answered.add(named(*"abcdefg"))  # that other processes let in
    enter(inside, *named("a", "b"))
    with pytest.raises(ServerBusy, match=r"server full: 2 of 2 utterances are inside \(max_concurrent_batches\)"):
        enter(inside, *named("c"))
    inside.answered.add(named("a"))
    enter(inside, *named("c"))
    with pytest.raises(ServerBusy):
        enter(inside, *named("d"))


def test_a_lost_utterance_holds_its_place_until_a_later_one_is_answered(inside):
    """However steadily others come, so that nobody is inside for long."""
    for number in range(20):
        enter(inside, *named(f"lost {number}", f"kept {number}"))
        inside.answered.add(named(f"kept {number}"))


def test_a_lost_utterance_holds_its_place_for_a_while_only(inside):
    enter(inside, *named("a"))
    inside.now = 1.0
    enter(inside, *named("b"))
    inside.now = LOST_SECS + 0.5
    enter(inside, *named("c"))
    with pytest.raises(ServerBusy):
        enter(inside, *named("d"))
    inside.answered.add(named("b", "c", "x", "y"))  # more than there are
    enter(inside, *named("d", "e"))


def test_utterances_without_an_id_leave_in_the_order_they_came(inside):
    enter(inside, (0, ""), (0, ""))
    inside.answered.add([(0, "")])
    enter(inside, (0, ""))
    with pytest.raises(ServerBusy):
        enter(inside, (0, ""))


def test_more_answers_than_are_kept(inside):
    enter(inside, *named("a", "b"))
    inside.answered.add([*named("a"), *named(*map(str, range(5000))), *named("b")])
    enter(inside, *named("c", "d"))
