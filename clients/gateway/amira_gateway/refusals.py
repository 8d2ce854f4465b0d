"""What callers are told when something goes wrong: one JSON form for every route, OpenAI's."""

from __future__ import annotations

import json
import math

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from amira_asr import (
    AmiraError,
    CircuitOpen,
    DeadlineExceeded,
    InvalidAudio,
    InvalidRequest,
    RateLimited,
    SequenceLost,
    ServerFull,
    ServerUnavailable,
)

_RETRY_SECS = 5
_FULL_RETRY_SECS = 1


class ErrorDetail(BaseModel):
    """What went wrong.

    Attributes:
        message: for people: names the field, its value and what is allowed.
        type: `invalid_request_error`, `authentication_error`, `rate_limit_error` or `server_error`.
        param: the field that is wrong, if one is.
        code: for programs.
        partial_text: what had been recognised before the error, if anything.
    """

    message: str
    type: str
    param: str | None = None
    code: str
    partial_text: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer that is not 2xx."""

    error: ErrorDetail


class Refusal(HTTPException):
    """An answer that is an error. An HTTPException, so that FastAPI lets it through wherever it is raised."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_secs: float | None = None,
        partial_text: str | None = None,
    ) -> None:
        headers = {} if retry_after_secs is None else {"Retry-After": str(max(1, math.ceil(retry_after_secs)))}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(status, message, headers)
        self.body = ErrorBody(
            error=ErrorDetail(message=message, type=_type(status), param=param, code=code, partial_text=partial_text)
        )

    def response(self) -> JSONResponse:
        """Return it as a response, for HTTP or in place of a WebSocket handshake."""
        return JSONResponse(self.body.model_dump(exclude_none=True), self.status_code, dict(self.headers or {}))


def refusal_of(error: AmiraError | HTTPException) -> Refusal:
    """Return what to answer when the client library or the framework raises."""
    if isinstance(error, HTTPException):
        return _plain(error)
    status, code = 502, "server_error"
    retry_after: float | None = None
    if isinstance(error, InvalidAudio):
        status, code = 400, "invalid_audio"
    elif isinstance(error, InvalidRequest):
        status, code = 400, "invalid_option"
    elif isinstance(error, RateLimited):
        status, code, retry_after = 429, "rate_limit", _RETRY_SECS
    elif isinstance(error, CircuitOpen):
        status, code, retry_after = 503, "circuit_open", error.retry_after_secs
    elif isinstance(error, ServerFull):
        status, code, retry_after = 503, "server_full", _FULL_RETRY_SECS
    elif isinstance(error, (ServerUnavailable, SequenceLost)):
        status, code, retry_after = 503, "server_unavailable", _RETRY_SECS
    elif isinstance(error, DeadlineExceeded):
        status, code, retry_after = 504, "deadline_exceeded", _RETRY_SECS
    partial = None if error.partial is None else error.partial.text or None
    return Refusal(status, code, str(error), retry_after_secs=retry_after, partial_text=partial)


def invalid_fields(problems: list[dict[str, object]]) -> Refusal:
    """Return what to answer when pydantic refuses fields of a request."""
    shown = []
    for problem in problems:
        place = problem["loc"]
        name = ".".join(str(part) for part in place) if isinstance(place, tuple) else str(place)
        shown.append((name, f"{name} is {json.dumps(problem.get('input'), default=str)[:100]}: {problem['msg']}"))
    return Refusal(422, "invalid_field", "; ".join(text for _, text in shown), param=shown[0][0] if shown else None)


def _plain(error: HTTPException) -> Refusal:
    """Return a framework's own error, such as 404 for an unknown path, in our form."""
    if isinstance(error, Refusal):
        return error
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    refusal = Refusal(error.status_code, code, str(error.detail))
    refusal.headers = {**(error.headers or {}), **(refusal.headers or {})}
    return refusal


async def answer_refusal(_request: HTTPConnection, error: Exception) -> JSONResponse:
    """Exception handler for FastAPI."""
    assert isinstance(error, (AmiraError, HTTPException))  # noqa: S101  it is registered for nothing else
    return refusal_of(error).response()


def _type(status: int) -> str:
    if status in (401, 403):
        return "authentication_error"
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
