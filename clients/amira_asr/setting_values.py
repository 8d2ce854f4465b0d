"""Values of settings that are more than a number or a word: what is allowed, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

# Of Triton, beyond what clients need; scripts/serving/interfaces.py closes them.
INTERFACES = ("http-inference", "statistics", "shared-memory", "trace", "logging")


def parse_endpoints(text: str) -> tuple[str, ...]:
    """Return each host:port of `host:port, host:port` once, in order. Raises ValueError for what is none."""
    endpoints = tuple(dict.fromkeys(_items(text, keep_empty=True)))
    for endpoint in endpoints:
        match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):(\d+)", endpoint)
        if match is None or not 1 <= int(match[1]) <= 65535:
            raise ValueError(
                "should be host:port without a scheme, with a port from 1 to 65535, such as localhost:8001, "
                "or several of them with commas between"
            )
    return endpoints


def parse_interfaces(text: str) -> frozenset[str]:
    """Return the interfaces in `name, name`. Raises ValueError for a name that is none."""
    names = frozenset(_items(text))
    unknown = sorted(names.difference(INTERFACES))
    if unknown:
        raise ValueError(f"should be some of {', '.join(INTERFACES)}; not {unknown[0]!r}")
    return names


def parse_recognisers(text: str) -> dict[str, Path]:
    """Return the model repository of each recogniser in `name=folder, name=folder`.

    Raises:
        ValueError: it is nothing like that; a name twice, or like that of a version.
    """
    found: dict[str, Path] = {}
    for item in _items(text):
        name, equals, folder = (part.strip() for part in item.partition("="))
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) or not equals or not folder:
            raise ValueError(f"should be name=folder, name=folder, names of letters, digits, - and _; not {item!r}")
        if name in found or re.fullmatch(r"v\d+", name):
            raise ValueError(f"should name each recogniser once, and not as versions are named (v2); not {name!r}")
        found[name] = Path(folder)
    return found


def parse_aliases(text: str) -> dict[str, str]:
    """Return the recogniser that each further name stands for, of `name=recogniser, name=recogniser`.

    Raises:
        ValueError: it is nothing like that, or a name comes twice.
    """
    found: dict[str, str] = {}
    for item in _items(text):
        match = re.fullmatch(r"([\w.:-]+)\s*=\s*([\w.-]+)", item)
        if match is None or match[1] in found:
            raise ValueError(f"should be name=recogniser, name=recogniser, each name once; not {item!r}")
        found[match[1]] = match[2]
    return found


def check_api_key(key: SecretStr) -> SecretStr:
    """Return a key that Triton can ask for, or none. Raises ValueError."""
    if key.get_secret_value() and not re.fullmatch(r"[A-Za-z0-9._~+/-]{16,200}=*", key.get_secret_value()):
        raise ValueError("should be 16 to 200 letters, digits and . _ ~ + / -")
    return key


def _items(text: str, *, keep_empty: bool = False) -> list[str]:
    return [item for item in map(str.strip, text.split(",")) if item or keep_empty]


def _read_by(parse: Callable[[str], object]) -> AfterValidator:
    """Let pydantic keep the text, as settings are shown, when a function can read it."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def _like(pattern: str, should: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"should be {should}")
        return text

    return AfterValidator(check)


Port = Annotated[int, Field(ge=0, le=65535)]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ApiKey = Annotated[SecretStr, AfterValidator(check_api_key)]
Endpoints = Annotated[str, _read_by(parse_endpoints)]
Interfaces = Annotated[str, _read_by(parse_interfaces)]
RecogniserFolders = Annotated[str, _read_by(parse_recognisers)]
Aliases = Annotated[str, _read_by(parse_aliases)]
Rate = Annotated[
    str,
    _like(r"([1-9]\d*/(second|minute|hour|day))?", "requests/second, /minute, /hour or /day, such as 600/minute"),
]
TracingEndpoint = Annotated[
    str,
    _like(
        r"(https?://[^\s/]+(/[^\s]*)?)?", "the URL of an OTLP/HTTP receiver, such as http://localhost:4318/v1/traces"
    ),
]
Execution = Annotated[
    str,
    _like(
        r"cpu|torch:(cpu|cuda(:\d{1,3})?)|onnxruntime:(cpu|(cuda|tensorrt)(:\d{1,3})?)",
        "cpu, torch:cuda, onnxruntime:cuda, onnxruntime:tensorrt, torch:cuda:1 and so on, torch:cpu, onnxruntime:cpu",
    ),
]
FeaturesExecution = Annotated[
    str, _like(r"cpu|torch:(cpu|cuda(:\d{1,3})?)", "cpu, torch:cuda, torch:cuda:1 and so on, torch:cpu")
]
