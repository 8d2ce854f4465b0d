"""Options of the command line that are the decoder's, for all commands that recognise."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from amira_asr.options import DecodingOptions

_STREAMS_ONLY = {"vad_gate", "vad_threshold", "vad_hangover_ms"}


# typer on Python 3.10 needs Optional.
def decoding_options(
    *,
    beam_size: Annotated[Optional[int], typer.Option(help="hypotheses to keep; 1 is greedy search")] = None,  # noqa: UP045
    phrases: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="file of phrases to listen for, one a line, each with its weight after a tab or without"),
    ] = None,
    lm_weight: Annotated[Optional[float], typer.Option(help="weight of the server's language model")] = None,  # noqa: UP045
    endpointing: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option("--endpointing/--no-endpointing", help="let silence end segments"),
    ] = None,
    endpoint_silence_ms: Annotated[Optional[int], typer.Option(help="silence that ends a segment, ms")] = None,  # noqa: UP045
    vad_gate: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option("--vad-gate/--no-vad-gate", help="silence what is no speech before recognising"),
    ] = None,
    vad_threshold: Annotated[Optional[float], typer.Option(help="least probability of speech of the gate")] = None,  # noqa: UP045
    vad_hangover_ms: Annotated[Optional[int], typer.Option(help="audio that the gate keeps after speech, ms")] = None,  # noqa: UP045
) -> DecodingOptions:
    """Return what the command line asks for.

    Raises:
        typer.BadParameter: the file of phrases cannot be read, or one of its weights is no number.
    """
    return DecodingOptions(
        beam_size=beam_size,
        phrases=None if phrases is None else read_phrases(phrases),
        lm_weight=lm_weight,
        endpointing=endpointing,
        endpoint_silence_ms=endpoint_silence_ms,
        vad_gate=vad_gate,
        vad_threshold=vad_threshold,
        vad_hangover_ms=vad_hangover_ms,
    )


def takes_decoding_options(*, streams: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command all options of `decoding_options`; what they come to is its argument `options`.

    Args:
        streams: whether those count that only streams can have.
    """
    hints = typing.get_type_hints(decoding_options, include_extras=True)
    added = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(decoding_options).parameters.items()
        if streams or name not in _STREAMS_ONLY
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            options = decoding_options(**{parameter.name: given.pop(parameter.name) for parameter in added})
            command(**given, options=options)

        signature = inspect.signature(command, eval_str=True)
        own = [parameter for name, parameter in signature.parameters.items() if name != "options"]
        run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *added]}
        return run

    return decorate


def read_phrases(path: Path) -> dict[str, float | None]:
    """Read phrases and their weights, None where a line has none. Raises typer.BadParameter."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"phrases cannot be read from {path}: {error}") from error
    found: dict[str, float | None] = {}
    for number, line in enumerate(lines, 1):
        text, _, weight = line.partition("\t")
        if text.strip():
            try:
                found[text.strip()] = float(weight) if weight.strip() else None
            except ValueError:
                raise typer.BadParameter(f"{path}, line {number}: weight {weight!r} is not a number") from None
    return found
