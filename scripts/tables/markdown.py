"""What all tables share."""

from __future__ import annotations

from typing import Any

Figures = dict[str, Any]


def table(heads: list[str], rows: list[list[Any]], *, numbers: bool = True) -> str:
    """Return a Markdown table; numbers stand at the right."""
    lines = [heads, ["---"] + ["---:" if numbers else "---"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
