"""The table of all settings in `docs/settings.md`, made of the settings themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from amira_asr.settings import Settings

_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def settings_table() -> str:
    """Return a Markdown table: variable, default, what is allowed, what it is."""
    lines = ["| variable | default | allowed | |", "| --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = f"`{_shown(field.default)}`" if _shown(field.default) else "none"
        lines.append(f"| `AMIRA_{name.upper()}` | {default} | {_allowed(field)} | {field.description} |")
    return "\n".join(lines)


def _shown(default: Any) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default is None else str(default)


def _allowed(field: FieldInfo) -> str:
    choices = [f"`{choice}`" for choice in get_args(field.annotation) if isinstance(choice, str) and choice]
    limits = [
        f"{sign} {getattr(item, name):,.10g}"
        for item in _metadata(field)
        for name, sign in _SIGNS.items()
        if hasattr(item, name)
    ]
    return ", ".join(choices or limits)


def _metadata(field: FieldInfo) -> Iterator[Any]:
    """Constraints of a field, and those inside `X | None`."""
    yield from field.metadata
    for part in get_args(field.annotation):
        yield from getattr(part, "__metadata__", ())
