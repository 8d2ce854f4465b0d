"""The table of metrics in docs/observability.md, from the catalogue of the backends."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "backends"))

from common import metric_catalogue as catalogue

PAGE = Path(__file__).resolve().parents[2] / "docs" / "observability.md"
_TABLE = re.compile(r"(<!-- metrics -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """Return the page with the table of today."""
    rows = ["| metric | type | labels besides `model` | |", "|---|---|---|---|"]
    for metric in catalogue.ALL:
        values = f"`{metric.label}`: {', '.join(metric.values)}" if metric.label else ""
        rows.append(f"| `{metric.name}` | {metric.kind} | {values} | {metric.text} |")
    table = "\n".join(rows)
    return _TABLE.sub(lambda found: f"{found[1]}{table}\n{found[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
