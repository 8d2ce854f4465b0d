"""Every command in README, CONTRIBUTING and docs is one that works, or says before its block why it is not tried.

`<!-- not run: why -->` before a block is that marker. Of the others each line is checked by what it calls: targets and
variables of make, subcommands and options of ours, modules, folders for kubectl, routes of the gateway.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from amira_asr.cli import app
from amira_asr.settings import Settings
from tests.conftest import ROOT
from tests.deploy.manifests import render

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>.*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)
MAKEFILE = (ROOT / "Makefile").read_text()
PROGRAM = re.compile(
    r"^(\w+=\S+ )*(make|docker|kubectl|amira-asr|amira-gateway|python3?|pip|curl|git|\S*/bin/\S+|\.) ", re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """Commands in a page.

    Attributes:
        page: file name.
        text: of the block.
        reason: why it is not run; None where it is checked.
    """

    page: str
    text: str
    reason: str | None

    def commands(self) -> Iterator[list[str]]:
        """Yield the words of each command, variables before it included."""
        for line in re.sub(r"\\\n\s*", " ", self.text).splitlines():
            words: list[str] = []
            for word in [*shlex.split(line, comments=True), "&&"]:
                if word != "&&":
                    words.append(word)
                elif words:
                    yield words
                    words = []


def blocks() -> list[Block]:
    """All blocks of commands."""
    found = []
    for page in PAGES:
        for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
            shell = match["language"] in {"sh", "bash", "shell", "console"}
            if shell or (not match["language"] and PROGRAM.search(match["text"])):
                found.append(Block(page.name, match["text"], match["reason"]))
    return found


CHECKED = [block for block in blocks() if block.reason is None]


def check_make(words):
    """Targets exist, and each variable means something."""
    for word in words:
        name, is_variable, _ = word.partition("=")
        if is_variable:
            assert f"$({name})" in MAKEFILE or re.search(rf"^{name} [?:]?=", MAKEFILE, re.MULTILINE), (
                f"make knows no {name}"
            )
        else:
            assert re.search(rf"^{re.escape(name)}:.*## ", MAKEFILE, re.MULTILINE), f"no target {name}"


def check_amira_asr(words):
    """Subcommand and options exist."""
    group = typer.main.get_command(app)
    command = group.commands[words[0]]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = {word.split("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)} - options - {"--help"}
    assert not unknown, f"amira-asr {words[0]} has no {unknown}"


def check_python(words):
    """Module and options exist."""
    assert words[0] == "-m", words
    module = importlib.util.find_spec(words[1])
    assert module is not None, f"no module {words[1]}"
    if words[1] == "pytest":
        assert all((ROOT / word).exists() for word in words[2:] if not word.startswith("-"))
        return
    text = (
        Path(module.origin).parent / "__main__.py" if module.submodule_search_locations else Path(module.origin)
    ).read_text()
    for option in (word for word in words[2:] if word.startswith("--")):
        assert f'"{option.split("=")[0]}"' in text, f"{words[1]} has no {option}"


def check_amira_gateway(words):
    """Options exist."""
    check_python(["-m", "amira_gateway.__main__", *words])


def check_kubectl(words):
    """What it renders is there."""
    command, path = words
    assert command == "kustomize"
    assert render(Path(path).name)
    assert (ROOT / path / "kustomization.yaml").exists()


def check_curl(words):
    """The gateway has such a route."""
    from amira_gateway.app import create_app  # noqa: PLC0415  slow

    url = next(word for word in words if word.startswith(("localhost", "http")))
    path = re.sub(r"^(https?://)?[^/]+|\?.*", "", url)
    routes = [re.sub(r"\{\w+\}", "[^/]+", route) for route in create_app(Settings()).openapi()["paths"]]
    assert any(re.fullmatch(route, path) for route in routes), f"no route {path} in {routes}"


def check_activation(words):
    """The environment that `make setup` makes."""
    assert words == [".venv/bin/activate"]


CHECKS = {
    "make": check_make,
    "amira-asr": check_amira_asr,
    "amira-gateway": check_amira_gateway,
    "python": check_python,
    "kubectl": check_kubectl,
    "curl": check_curl,
    ".": check_activation,
}


@pytest.mark.parametrize("block", CHECKED, ids=lambda block: f"{block.page}:{block.text.splitlines()[0][:40]}")
def test_commands_are_what_they_call(block):
    for words in block.commands():
        while re.fullmatch(r"[A-Z_]+=.*", words[0], re.DOTALL):
            name = words.pop(0).split("=")[0]
            assert name.removeprefix("AMIRA_").lower() in Settings.model_fields or f"$({name})" in MAKEFILE, name
        program = Path(words[0]).name if words[0].startswith(".venv") else words[0]
        assert program in CHECKS, f"{program}: how is this checked? Else `<!-- not run: why -->` before the block"
        CHECKS[program](words[1:])


def test_blocks_that_are_not_run_say_why_and_their_files_exist():
    marked = [block for block in blocks() if block.reason is not None]
    assert len(marked) > 5
    for block in marked:
        assert len(block.reason) > 5
        for path in re.findall(r"(?:-k|-f) (\S+)", block.text):
            assert (ROOT / path).exists(), f"{block.page}: {path}"
        for target in re.findall(r"--target (\S+)", block.text):
            assert f"AS {target}\n" in (ROOT / "Dockerfile").read_text()
        for target in re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE):
            check_make([target])


def test_make_understands_every_target():
    """One run of make that changes nothing."""
    targets = sorted(
        {word for block in CHECKED for words in block.commands() if words[0] == "make" for word in words[1:]}
    )
    goals = [target for target in targets if "=" not in target]
    assert len(goals) > 8
    done = subprocess.run(
        ["make", "-n", *goals, "DIR=x", "NEMO=x", "OUT=x", "REPO=x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_options_that_do_not_exist_are_found():
    for wrong in (["stream", "x.mp3", "--no-such"],):
        with pytest.raises(AssertionError):
            check_amira_asr(wrong)
    for wrong in (["no-such-target"], ["serve", "NO_SUCH=1"]):
        with pytest.raises(AssertionError):
            check_make(wrong)
    with pytest.raises(AssertionError):
        check_python(["-m", "scripts.serve", "--no-such"])
    assert PROGRAM.search("AMIRA_HOST=x make serve")


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        text = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
