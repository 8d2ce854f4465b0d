"""What a Dockerfile says, by stage."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from dockerfile_parse import DockerfileParser


@dataclass(frozen=True)
class Instruction:
    """One instruction, such as COPY.

    Attributes:
        name: upper case.
        value: the rest of it, continued lines joined.
    """

    name: str
    value: str

    def words(self) -> list[str]:
        """Return a value in either form, `["a", "b"]` or `a b`, as words."""
        return json.loads(self.value) if self.value.startswith("[") else shlex.split(self.value)


@dataclass(frozen=True)
class Stage:
    """From one FROM to the next.

    Attributes:
        name: after AS.
        base: image or stage that it begins with.
        instructions: in order.
    """

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        """Return the instructions of one kind."""
        return [item for item in self.instructions if item.name == name]

    @property
    def sources(self) -> list[str]:
        """Stages that files are copied from."""
        words = (word for item in self.all("COPY") for word in item.words())
        return [word.removeprefix("--from=") for word in words if word.startswith("--from=")]


class Dockerfile:
    """A file's stages, in its order, and the values of its ARGs."""

    def __init__(self, path: Path) -> None:
        """Read it."""
        parser = DockerfileParser(fileobj=BytesIO(path.read_bytes()))
        self.stages: dict[str, Stage] = {}
        self.arguments: dict[str, str] = {}
        instructions: list[Instruction] = []
        for entry in parser.structure:
            instruction = Instruction(entry["instruction"], entry["value"])
            if instruction.name == "FROM":
                base, _, name = instruction.words()
                instructions = []
                self.stages[name] = Stage(name, base, ())
            elif instruction.name == "ARG":
                self.arguments |= dict([instruction.value.split("=", 1)])
            elif instruction.name != "COMMENT":
                instructions.append(instruction)
                name, stage = self.stages.popitem()
                self.stages[name] = Stage(name, stage.base, tuple(instructions))

    def needed(self, target: str) -> list[Stage]:
        """Return the stages that a target is made of, each after those that it uses. Raises KeyError: no such stage."""
        stage = self.stages[target]
        found: list[Stage] = []
        for source in [stage.base, *stage.sources]:
            if source in self.stages:
                found += [item for item in self.needed(source) if item not in found]
        return [*found, stage]

    def inherited(self, target: str) -> list[Instruction]:
        """Return the instructions of a target after those of the stages that it is built on."""
        stage = self.stages[target]
        below = self.inherited(stage.base) if stage.base in self.stages else []
        return [*below, *stage.instructions]

    def last(self, target: str, name: str) -> Instruction:
        """Return the instruction of one kind that counts. Raises LookupError when there is none."""
        found = [item for item in self.inherited(target) if item.name == name]
        if not found:
            raise LookupError(f"{target} has no {name}")
        return found[-1]

    def environment(self, target: str, before: dict[str, str]) -> dict[str, str]:
        """Return what ENV makes of the variables that the base image sets."""
        variables = dict(before)
        for item in self.inherited(target):
            if item.name == "ENV":
                pairs = dict(word.split("=", 1) for word in item.words())
                variables |= {key: value.replace("$PATH", variables["PATH"]) for key, value in pairs.items()}
        return variables
