"""Changed words of partial results."""

from __future__ import annotations

from amira_asr import Final, Partial
from scripts.evaluation.stability import Stability


def partial(text, stable=0, kind=Partial):
    return kind(text, (), (), 1.0, 1.0, stable_words=stable)


def test_changed_grown_and_broken():
    stability = Stability()
    stability.add(
        [
            partial("a"),
            partial("a cat"),
            partial("a cattle is", stable=1),
            partial("the cattle", stable=1),
            partial("the cattle", kind=Final),
        ]
    )
    assert stability == Stability(words=2, changed=3, grown=1, broken_promises=1)


def test_what_only_gets_longer_has_not_changed():
    stability = Stability()
    stability.add([partial(""), partial("a b"), partial("a b c", kind=Final)])
    assert stability == Stability(words=3)
