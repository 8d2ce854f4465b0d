"""Typed reading of request parameters, with errors that name the parameter, its value and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping

Parameters = Mapping[str, str | int | float | bool]


def boolean(parameters: Parameters, name: str, default: bool) -> bool:  # noqa: FBT001  a value, not a mode
    """Return a parameter that is true or false; the words count, too, for clients that only send text.

    Raises:
        ValueError: it is anything else.
    """
    value = parameters.get(name, default)
    word = str(value).lower()
    if word not in ("true", "false"):
        raise ValueError(f"parameter {name} is {value!r}; allowed: true or false")
    return word == "true"


def number(parameters: Parameters, name: str, default: float, minimum: float, maximum: float) -> float:
    """Return a numeric parameter; text that is a number counts, too.

    Raises:
        ValueError: it is no number, or outside of [minimum, maximum].
    """
    value = parameters.get(name, default)
    try:
        result = float("nan") if isinstance(value, bool) else float(value)
    except ValueError:
        result = float("nan")
    if not minimum <= result <= maximum:
        raise ValueError(f"parameter {name} is {value!r}; allowed: a number from {minimum:g} to {maximum:g}")
    return result
