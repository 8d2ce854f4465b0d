"""Puts measured figures into the docs, so that none is typed: `python -m scripts.render_docs [--check]`.

A page holds pairs of comments, `<!-- figures: NAME -->` and `<!-- end -->`; what stands between them is replaced by the
table that NAME makes of its file in `docs/measurements` (see `TABLES`), or by "not measured" while there is none.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.tables import gpu, operation, quality, speed
from scripts.tables.markdown import Figures
from scripts.tables.settings import settings_table

ROOT = Path(__file__).resolve().parents[1]
MEASUREMENTS = ROOT / "docs" / "measurements"
PAGES = (
    ROOT / "README.md",
    ROOT / "docs" / "decoding.md",
    ROOT / "docs" / "browser.md",
    ROOT / "docs" / "gateway.md",
    ROOT / "docs" / "performance.md",
    ROOT / "docs" / "quality.md",
    ROOT / "docs" / "reliability.md",
    ROOT / "docs" / "settings.md",
    ROOT / "docs" / "tensorrt.md",
    ROOT / "docs" / "zipformer.md",
    ROOT / "model-repo" / "MODEL_CARD.md",
)
_SECTION = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

# Name in the pages -> what makes the table, and the file it is made of.
TABLES: dict[str, tuple[Callable[[Figures], str], str]] = {
    "evaluation": (quality.evaluation, "evaluation.json"),
    "evaluation_short": (quality.evaluation_short, "evaluation.json"),
    "bars": (quality.bars, "evaluation.json"),
    "chunk_sizes": (quality.chunk_sizes, "evaluation.json"),
    "baselines": (quality.baselines, "baselines.json"),
    "zipformer": (quality.zipformer, "zipformer.json"),
    "babble": (quality.babble, "babble.json"),
    "release": (operation.release, "release.json"),
    "bench": (speed.bench, "bench.json"),
    "cost": (speed.cost, "cost.json"),
    "gateway": (speed.gateway, "gateway.json"),
    "draft": (speed.draft, "draft.json"),
    "peers": (speed.peers, "peers.json"),
    "load": (speed.load, "load.json"),
    "soak": (speed.load, "soak.json"),
    "capacity": (speed.capacity, "capacity.json"),
    "precisions": (operation.precisions, "engines.json"),
    "bench_decoding": (speed.bench_decoding, "bench_decoding.json"),
    "gpu_served": (gpu.served, "gpu/served.json"),
    "gpu_steps": (gpu.steps, "gpu/steps.json"),
    "gpu_pipeline": (gpu.pipeline, "gpu/pipeline.json"),
    "gpu_encoders": (gpu.encoders, "gpu/bench_gpu.json"),
    "chaos": (operation.chaos, "chaos.json"),
    "decoding": (quality.decoding, "decoding.json"),
    "passages": (quality.passages, "decoding.json"),
    "stability": (quality.stability, "decoding.json"),
}


def render(text: str) -> str:
    """Return a page with its figures brought up to date. Raises KeyError for a table that nothing makes."""
    return _SECTION.sub(lambda match: f"{match[1]}{_section(match[2])}\n{match[3]}", text)


def _section(name: str) -> str:
    if name == "settings":
        return settings_table()
    make, file = TABLES[name]
    path = MEASUREMENTS / file
    if not path.exists():
        return "not measured"
    figures = json.loads(path.read_text())
    measured = figures["measured"]
    versions = ", ".join(f"{package} {version}" for package, version in measured["versions"].items())
    circumstances = (
        f"`{measured['command']}` on {measured['date'][:10]}, revision {measured['revision']}; {measured['cpu']}, "
        f"{measured['cores']} cores; Python {measured['python']}, {versions}."
    )
    return f"{make(figures)}\n\n{circumstances}"


def main() -> int:
    """Write the pages, or with --check only say which are not up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a page is out of date")
    arguments = parser.parse_args()
    stale = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        rendered = render(text)
        if rendered != text:
            stale.append(page.relative_to(ROOT))
            if not arguments.check:
                page.write_text(rendered, encoding="utf-8")
    for path in stale:
        print(f"{'out of date' if arguments.check else 'updated'}: {path}")
    return 1 if arguments.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
