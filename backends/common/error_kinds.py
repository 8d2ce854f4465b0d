"""Kinds of errors, for metrics and logs: who has to do something about them."""

from __future__ import annotations

import re

from common.metric_catalogue import ERRORS

REQUEST, INTERNAL = "request", "internal"
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def error_kind(error: Exception) -> str:
    """Return the kind of an error that answered a request, as label of `amira_errors_total`."""
    if not isinstance(error, ValueError):
        return INTERNAL
    kind = getattr(error, "kind", REQUEST)
    return kind if kind in ERRORS.values else REQUEST


def without_values(message: str) -> str:
    """Return an error message without what the caller sent: phrases are text, and text stays out of logs."""
    return _QUOTED.sub("'…'", message)
