"""A transcript as text, JSON or subtitles. Subtitle formats are written by pysubs2."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

import pysubs2

from amira_asr.events import Transcript, Word

_MAX_CUE_CHARACTERS = 84
_MAX_CUE_SECS = 6.0
_PAUSE_SECS = 1.0


class OutputFormat(str, Enum):
    """How a transcript is written."""

    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"

    @property
    def extension(self) -> str:
        """Ending of the names of files in this format."""
        return ".txt" if self is OutputFormat.TEXT else f".{self.value}"


def write(transcript: Transcript, form: OutputFormat, source: str | None = None) -> str:
    """Return the transcript in a format, without a newline at the end; JSON names its source."""
    if form is OutputFormat.TEXT:
        return transcript.text
    if form is OutputFormat.JSON:
        named = {} if source is None else {"file": source}
        return json_line(transcript, **named)
    subtitles = pysubs2.SSAFile()
    for cue in cues(transcript.words):
        subtitles.append(
            pysubs2.SSAEvent(
                start=pysubs2.make_time(s=cue[0].start_secs),
                end=pysubs2.make_time(s=cue[-1].end_secs),
                text=" ".join(word.text for word in cue),
            )
        )
    return subtitles.to_string(form.value).rstrip("\n")


def json_line(transcript: Transcript, **more: str) -> str:
    """Return the transcript as a JSON object in one line, `more` first. Numbers have the digits that mean something."""
    return json.dumps({**more, **_rounded(dataclasses.asdict(transcript))}, ensure_ascii=False)


def _rounded(value: Any) -> Any:
    """Return a structure whose floats have four decimals: times and confidences come as 32-bit floats."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def cues(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Group words to subtitle cues: a new one at a pause, and before one grows too long to read."""
    cue: list[Word] = []
    for word in words:
        if cue:
            length = sum(len(item.text) + 1 for item in cue) + len(word.text)
            duration = word.end_secs - cue[0].start_secs
            pause = word.start_secs - cue[-1].end_secs
            if length > _MAX_CUE_CHARACTERS or duration > _MAX_CUE_SECS or pause > _PAUSE_SECS:
                yield cue
                cue = []
        cue.append(word)
    if cue:
        yield cue
