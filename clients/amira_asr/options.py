"""What a stream or a recording asks of the decoder. None leaves the choice to the server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

Parameter = str | int | bool


class Finalize:
    """See `FINALIZE`."""


FINALIZE: Final = Finalize()
"""Among the buffers of a stream: end the segment here, with the chunk that these samples are in."""


@dataclass(frozen=True)
class DecodingOptions:
    """Options of one stream or recording; docs/decoding.md says what they do and what is allowed.

    The server checks them. A wrong one raises `InvalidRequest`, which names it.

    Attributes:
        beam_size: hypotheses kept; 1 is greedy search.
        n_best: alternatives to report, at most `beam_size`.
        length_normalization: whether alternatives are compared by score per token.
        phrases: texts to listen for; in a mapping each with a weight of its own, or None.
        phrase_weight: natural-log score per token of phrases without a weight of their own.
        lm_weight: weight of the server's language model.
        endpointing: whether silence ends a segment.
        endpoint_silence_ms: silence that ends a segment with speech.
        endpoint_no_speech_ms: silence that ends one without; 0 for never.
        endpoint_length_ms: length after which a segment ends before its next word; 0 for never.
        vad_gate: whether what is no speech is silenced before it is recognised; streams only.
        vad_threshold: least probability of speech at which the gate opens.
        vad_hangover_ms: audio that the gate keeps after speech.
    """

    beam_size: int | None = None
    n_best: int | None = None
    length_normalization: bool | None = None
    phrases: Sequence[str] | Mapping[str, float | None] | None = None
    phrase_weight: float | None = None
    lm_weight: float | None = None
    endpointing: bool | None = None
    endpoint_silence_ms: int | None = None
    endpoint_no_speech_ms: int | None = None
    endpoint_length_ms: int | None = None
    vad_gate: bool | None = None
    vad_threshold: float | None = None
    vad_hangover_ms: int | None = None

    def parameters(self) -> dict[str, Parameter]:
        """Return the request parameters of START. Fractions go as text: Triton's parameters have none."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        phrases = given.pop("phrases")
        values = {
            name: str(value) if isinstance(value, float) else value
            for name, value in given.items()
            if value is not None
        }
        if phrases:
            values["phrases"] = json.dumps(_entries(phrases), ensure_ascii=False)
        return values


def _entries(phrases: Sequence[str] | Mapping[str, float | None]) -> list[object]:
    if isinstance(phrases, Mapping):
        return [text if weight is None else {"text": text, "weight": weight} for text, weight in phrases.items()]
    return list(phrases)


NO_OPTIONS: Final = DecodingOptions()
