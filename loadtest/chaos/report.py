"""What a run prints, and its totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from loadtest.chaos.stage import Outcome


def print_head() -> None:
    """Print the names of the columns."""
    print(
        f"{'scenario':<28} {'streams':>7} {'same':>5} {'lost':>5} {'twice':>5} {'other':>5} {'failed':>6} "
        f"{'restarts':>8} {'unready s':>9} {'waited s':>12} {'memory MB':>13} {'took s':>7}",
        flush=True,
    )


def print_outcome(outcome: Outcome) -> None:
    """Print one line, and one for each problem."""
    words, waited, memory = outcome.difference, "", ""
    if outcome.recovery_median is not None:
        waited = f"{outcome.recovery_median:.1f} / {max(outcome.recovery_secs):.1f}"
    if outcome.before is not None and outcome.after is not None:
        memory = f"{outcome.before.private_mb:.0f} > {outcome.after.private_mb:.0f}"
    print(
        f"{outcome.scenario:<28} {outcome.streams:7d} {outcome.identical:5d} {words.lost:5d} {words.doubled:5d} "
        f"{words.changed:5d} {sum(outcome.failed.values()):6d} {outcome.restarts:8d} {outcome.unready_secs:9.1f} "
        f"{waited:>12} {memory:>13} {outcome.seconds:7.1f}{'  ' + outcome.note if outcome.note else ''}",
        flush=True,
    )
    for problem in outcome.problems:
        print(f"    PROBLEM: {problem}", flush=True)


def totals(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the sums over all scenarios."""
    failed: Counter[str] = Counter()
    for outcome in outcomes:
        failed.update(outcome.failed)
    return {
        "streams": sum(outcome.streams for outcome in outcomes),
        "identical": sum(outcome.identical for outcome in outcomes),
        "lost": sum(outcome.difference.lost for outcome in outcomes),
        "doubled": sum(outcome.difference.doubled for outcome in outcomes),
        "changed": sum(outcome.difference.changed for outcome in outcomes),
        "failed": dict(failed),
    }


def print_totals(outcomes: Sequence[Outcome]) -> None:
    """Print the sums over all scenarios, and the verdict."""
    sums = totals(outcomes)
    print(
        f"{sums['streams']} streams: {sums['identical']} as undisturbed; words lost {sums['lost']}, "
        f"doubled {sums['doubled']}, changed {sums['changed']}; failed {sum(sums['failed'].values())}"
    )
    bad = [outcome.scenario for outcome in outcomes if outcome.problems]
    print(f"FAIL: {', '.join(bad)}" if bad else "PASS: nothing lost")
