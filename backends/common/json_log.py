"""The log of one model: one JSON object a line on standard error, where Triton's own lines go, too.

Nobody's words are in it: no audio, no text, and of what a caller sent only the IDs, at every level but "verbose".
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

_LEVELS = {
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "verbose": logging.DEBUG,
}
_NAMES = {level: name for name, level in _LEVELS.items()}
_STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "taskName"}
_MOST_LINES_A_SECOND = 100


def model_log(model_name: str) -> logging.Logger:
    """Return the log of a model. The launcher sets level and format (`AMIRA_LOG_LEVEL`, `AMIRA_LOG_FORMAT`)."""
    logger = logging.getLogger(f"amira.{model_name}")
    logger.setLevel(_LEVELS[os.environ.get("AMIRA_LOG_LEVEL", "info")])
    logger.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if os.environ.get("AMIRA_LOG_FORMAT") == "text" else JsonFormatter())
    handler.addFilter(Throttle(_MOST_LINES_A_SECOND))
    logger.handlers = [handler]
    return logger


class JsonFormatter(logging.Formatter):
    """A record as a JSON object: time, level, model, event, and whatever `extra` names."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        values = {
            "time": _time(record),
            "level": _NAMES.get(record.levelno, record.levelname.lower()),
            "model": record.name.removeprefix("amira."),
            "event": record.getMessage(),
            **_fields(record),
        }
        return json.dumps(values, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields = "".join(f" {key}={json.dumps(value, default=str)}" for key, value in _fields(record).items())
        level = _NAMES.get(record.levelno, record.levelname.lower())
        return f"{_time(record)} {level} {record.name.removeprefix('amira.')}: {record.getMessage()}{fields}"


class Throttle(logging.Filter):
    """Lets so many lines a second through, so that a client that sends nonsense does not fill the disk."""

    def __init__(self, most: int) -> None:
        """Start with nothing seen."""
        super().__init__()
        self._most, self._second, self._seen = most, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record passes; the first one after others were left out says how many."""
        second = int(record.created)
        if second != self._second:
            left_out = self._seen - self._most
            if left_out > 0:
                record.left_out_before = left_out
            self._second, self._seen = second, 0
        self._seen += 1
        return self._seen <= self._most


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
    if record.exc_info is not None and record.exc_info[0] is not None:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return fields


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
