"""The life of a sequence: START, chunks, END, errors, age."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.sequences import SequenceError, SequenceTable


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Pool:
    """Hands out numbers and notes which are out."""

    def __init__(self):
        self.made = 0
        self.out: set[int] = set()

    def take(self):
        self.made += 1
        self.out.add(self.made)
        return self.made

    def free(self, item):
        self.out.remove(item)


def table(capacity=None, idle_secs=10.0):
    clock, pool = Clock(), Pool()
    return SequenceTable(pool.take, pool.free, idle_secs=idle_secs, capacity=capacity, clock=clock), clock, pool


def test_chunks_find_the_state_made_on_start():
    sequences, _, _ = table()
    started = sequences.enter("a", start=True, end=False)
    assert sequences.enter("a", start=False, end=False) is started


def test_start_of_a_live_id_frees_the_old_state():
    sequences, _, pool = table()
    sequences.enter("a", start=True, end=False)
    sequences.enter("a", start=True, end=False)
    assert pool.out == {2}


def test_end_frees():
    sequences, _, pool = table()
    sequences.enter("a", start=True, end=False)
    sequences.end("a")
    assert not pool.out
    with pytest.raises(SequenceError, match="'a' is not live"):
        sequences.enter("a", start=False, end=False)


def test_idle_sequences_are_freed_and_used_ones_are_not():
    sequences, clock, pool = table(idle_secs=10.0)
    sequences.enter("idle", start=True, end=False)
    sequences.enter("busy", start=True, end=False)
    clock.now = 6.0
    sequences.enter("busy", start=False, end=False)
    clock.now = 12.0
    assert sequences.expire() == 1
    assert pool.out == {2}
    sequences.enter("busy", start=False, end=False)


def test_a_full_table_refuses_new_sequences_only():
    sequences, _, _ = table(capacity=1)
    sequences.enter("a", start=True, end=False)
    with pytest.raises(SequenceError, match=r"server full: 1 of 1"):
        sequences.enter("b", start=True, end=False)
    sequences.enter("a", start=False, end=False)
    sequences.enter("a", start=True, end=False)


def test_a_failed_sequence_accepts_only_end_and_start():
    sequences, _, pool = table()
    sequences.enter("a", start=True, end=False)
    sequences.fail("a", "bad chunk")
    with pytest.raises(SequenceError, match="bad chunk"):
        sequences.enter("a", start=False, end=False)
    assert sequences.enter("a", start=False, end=True).failure == "bad chunk"
    assert sequences.enter("a", start=True, end=False).failure is None
    assert pool.out == {2}


@pytest.mark.parametrize("missing", ["", 0])
def test_an_id_is_required(missing):
    sequences, _, _ = table()
    with pytest.raises(SequenceError, match="correlation ID"):
        sequences.enter(missing, start=True, end=False)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["start", "chunk", "end", "fail", "wait"]))))
def test_every_state_is_freed_exactly_once_whatever_happens(actions):
    sequences, clock, pool = table(capacity=2, idle_secs=5.0)
    for name, action in actions:
        if action in ("start", "chunk"):
            with contextlib.suppress(SequenceError):
                sequences.enter(name, start=action == "start", end=False)
        elif action == "end":
            sequences.end(name)
        elif action == "fail":
            sequences.fail(name, "test")
        else:
            clock.now += 3.0
            sequences.expire()
        assert len(pool.out) == len(sequences) <= 2
    clock.now += 100.0
    sequences.expire()
    assert not pool.out
