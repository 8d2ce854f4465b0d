"""One run for many requests, and the others unharmed when one of them makes it fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def together_or_alone(
    run: Callable[[Sequence[ItemT]], Sequence[ResultT]], items: Sequence[ItemT]
) -> list[ResultT | Exception]:
    """Run items together; when that fails, each alone, so that only the one that cannot be run has the error.

    Args:
        run: returns the results in order, or raises and leaves all state as it was.
        items: at least one.

    Returns:
        Result or exception of each item, in order.
    """
    try:
        return list(run(items))
    except Exception as error:  # whatever a library raises
        if len(items) == 1:
            return [error]
    results: list[ResultT | Exception] = []
    for item in items:
        try:
            results.extend(run([item]))
        except Exception as error:
            results.append(error)
    return results
