"""What the README shows is true: its example runs, its tables are the measured figures, its targets exist."""

from __future__ import annotations

import re
import subprocess
import sys

from scripts import render_docs
from tests.conftest import CLIPS, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_client_example_runs(server, clips, monkeypatch, capsys):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    code = code.replace("talk.mp3", str(CLIPS / f"{clips[1].name}.flac"))
    monkeypatch.setenv("AMIRA_TRITON_ENDPOINT", server.grpc_endpoint)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102  our own page
    output = capsys.readouterr().out
    assert output.count("...") >= 5
    assert "final:" in output
    assert "Word(" in output


def test_tables_are_the_measured_figures():
    for page in render_docs.PAGES:
        text = page.read_text(encoding="utf-8")
        assert render_docs.render(text) == text, f"{page.name} is out of date: run `make docs`"


def test_every_make_target_in_the_docs_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [*render_docs.PAGES, *(ROOT / "docs").glob("*.md")]
    mention = re.compile(r"`make ([a-z-]+)|^make ([a-z-]+)", re.MULTILINE)
    named = {name for page in pages for name in mention.findall(page.read_text(encoding="utf-8"))}
    assert {one or other for one, other in named} <= targets


def test_the_demo_runs():
    done = subprocess.run(
        [sys.executable, "-m", "scripts.demo", "--clips", "1"], cwd=ROOT, capture_output=True, timeout=120, check=False
    )
    output = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert re.search(r"final +\w+", output)
    assert "reference" in output
    assert re.search(r"p50 \d+ ms, p95 \d+ ms", output)
