"""Options of the command line that are the decoder's, for `stream` and `transcribe` alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from amira_asr.options import DecodingOptions

# typer on Python 3.10 needs Optional.
BeamSize = Annotated[Optional[int], typer.Option(help="hypotheses to keep; 1 is greedy search")]  # noqa: UP045
Phrases = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="file of phrases to listen for, one a line, each with its weight after a tab or without"),
]
LmWeight = Annotated[Optional[float], typer.Option(help="weight of the server's language model")]  # noqa: UP045
Endpointing = Annotated[
    Optional[bool],  # noqa: UP045
    typer.Option("--endpointing/--no-endpointing", help="let silence end segments"),
]
EndpointSilence = Annotated[Optional[int], typer.Option(help="silence that ends a segment, ms")]  # noqa: UP045
VadGate = Annotated[
    Optional[bool],  # noqa: UP045
    typer.Option("--vad-gate/--no-vad-gate", help="silence what is no speech before recognising"),
]


def decoding_options(
    *,
    beam_size: int | None,
    phrases: Path | None,
    lm_weight: float | None,
    endpointing: bool | None,
    endpoint_silence_ms: int | None,
    vad_gate: bool | None = None,
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
    )


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
