"""Service level objectives: `p95=300,errors=0`, checked against what was measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_TERM = re.compile(r"(p[5-9]\d(?:\.\d+)?|errors|late)=(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Objective:
    """One limit.

    Attributes:
        name: `p95` (of chunk latency, ms), `errors` or `late` (shares in percent).
        limit: the largest allowed value.
    """

    name: str
    limit: float


def parse(text: str) -> list[Objective]:
    """Read objectives separated by commas. Raises ValueError, which says what is allowed."""
    found = []
    for term in filter(None, text.split(",")):
        match = _TERM.fullmatch(term.strip())
        if match is None:
            raise ValueError(f"slo is {term!r}; allowed: p50=MS to p99.9=MS, errors=PERCENT, late=PERCENT")
        found.append(Objective(match[1], float(match[2])))
    return found


def verdict(objectives: Sequence[Objective], answered_ms: Sequence[float], errors: int, late: int) -> tuple[bool, str]:
    """Return whether all objectives are met, and one line that says so.

    Args:
        objectives: limits.
        answered_ms: latency of every chunk (or, without streams, recording) that was answered.
        errors: streams and requests that failed.
        late: chunks that were answered after the next one was due.
    """
    if not answered_ms:
        return False, "FAIL: nothing was answered"
    parts, met = [], True
    for objective in objectives:
        if objective.name == "errors":
            value, unit = 100 * errors / (len(answered_ms) + errors), "%"
        elif objective.name == "late":
            value, unit = 100 * late / len(answered_ms), "%"
        else:
            value, unit = float(np.percentile(answered_ms, float(objective.name[1:]))), " ms"
        met &= value <= objective.limit
        parts.append(f"{objective.name} {value:.3g}{unit} (limit {objective.limit:g}{unit})")
    return met, f"{'PASS' if met else 'FAIL'}: {', '.join(parts)}; {len(answered_ms)} answers"
