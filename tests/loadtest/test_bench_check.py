"""The limits of `make bench-check`."""

from __future__ import annotations

import pytest

from loadtest.bench_check import BASELINE, Limit, read_limits, verdict


def test_a_limit_is_kept_from_one_side():
    assert Limit(1.5, at_most=2.0).allows(2.0)
    assert not Limit(1.5, at_most=2.0).allows(2.01)
    assert Limit(1.3, at_least=1.1).allows(1.1)
    assert not Limit(1.3, at_least=1.1).allows(1.09)


def test_a_broken_limit_is_named():
    limits = {"a": Limit(1.5, at_most=2.0), "b": Limit(1.3, at_least=1.1)}
    kept, lines = verdict({"a": 1.6, "b": 0.9}, limits)
    assert not kept
    assert lines[0].endswith("at most 2: ok")
    assert lines[1].endswith("at least 1.1: SLOWER")
    assert verdict({"a": 1.6}, limits)[0]
    with pytest.raises(KeyError):
        verdict({"c": 1.0}, limits)


def test_stored_baselines_keep_their_own_limits():
    limits = read_limits(BASELINE)
    assert len(limits) == 5
    for limit in limits.values():
        assert (limit.at_most is None) != (limit.at_least is None)
        assert limit.allows(limit.baseline)
