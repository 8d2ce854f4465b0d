"""Decoding options as fields of a request. What values are allowed the recogniser says itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from amira_asr import DecodingOptions
from amira_asr.audio import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

SampleRate = Annotated[int, Field(ge=MIN_SAMPLE_RATE, le=MAX_SAMPLE_RATE)]


class Options(BaseModel):
    """What a caller may ask of the decoder; docs/decoding.md says what each does."""

    model_config = ConfigDict(extra="ignore")

    beam_size: Annotated[int | None, Field(ge=1, le=64, description="hypotheses to keep; 1 is greedy search")] = None
    n_best: Annotated[int | None, Field(ge=1, le=64, description="readings to return, at most beam_size")] = None
    phrases: Annotated[str | None, Field(max_length=100_000, description="phrases to listen for, one a line")] = None
    phrase_weight: Annotated[float | None, Field(description="score of each token of a phrase")] = None
    lm_weight: Annotated[float | None, Field(description="weight of the server's language model")] = None
    endpointing: Annotated[bool | None, Field(description="whether silence ends segments")] = None
    endpoint_silence_ms: Annotated[int | None, Field(ge=0, le=600_000, description="silence that ends a segment")] = (
        None
    )

    def decoding(self) -> DecodingOptions:
        """Return them for the client library."""
        lines = [] if self.phrases is None else [line.strip() for line in self.phrases.splitlines()]
        return DecodingOptions(
            beam_size=self.beam_size,
            n_best=self.n_best,
            phrases=[line for line in lines if line] or None,
            phrase_weight=self.phrase_weight,
            lm_weight=self.lm_weight,
            endpointing=self.endpointing,
            endpoint_silence_ms=self.endpoint_silence_ms,
        )


class BatchOptions(Options):
    """Query of `POST /v2/decode/batch/{model}`."""

    sample_rate: Annotated[SampleRate, Field(description="of raw samples, Hz; a file says it itself")] = 16000


class StreamOptions(Options):
    """Query of `WS /v2/decode/stream/{model}`."""

    sample_rate: Annotated[SampleRate, Field(description="of the samples, Hz")] = 16000
    words: Annotated[bool, Field(description="whether messages carry words with times")] = False
    vad_gate: Annotated[bool | None, Field(description="whether what is no speech is silenced")] = None

    def decoding(self) -> DecodingOptions:
        """Return them for the client library."""
        return replace(super().decoding(), vad_gate=self.vad_gate)
