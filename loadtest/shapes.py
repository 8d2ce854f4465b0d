"""How many users there are over time."""

from __future__ import annotations

from collections.abc import Callable

Shape = Callable[[float, float, int], int]


def constant(_elapsed: float, _seconds: float, peak: int) -> int:
    """All of them, all the time."""
    return peak


def ramp(elapsed: float, seconds: float, peak: int) -> int:
    """Evenly more until the end."""
    return max(1, round(peak * min(1.0, elapsed / seconds)))


def steps(elapsed: float, seconds: float, peak: int) -> int:
    """Eight steps to the limit."""
    return max(1, round(peak * min(8, int(8 * elapsed / seconds) + 1) / 8))


def spike(elapsed: float, seconds: float, peak: int) -> int:
    """A quarter, but all of them in the middle fifth."""
    return peak if 0.4 <= elapsed / seconds < 0.6 else max(1, peak // 4)


SHAPES: dict[str, Shape] = {"constant": constant, "ramp": ramp, "steps": steps, "spike": spike}
