"""The gateway as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from amira_asr import AmiraError, Settings
from amira_gateway import decode, health, live, openai_api
from amira_gateway.admission import Admission
from amira_gateway.gateway import Gateway
from amira_gateway.guard import Guard, RequestIds, origins_of
from amira_gateway.metrics import Metrics
from amira_gateway.page_files import page_files
from amira_gateway.recognisers import Recognisers
from amira_gateway.refusals import ErrorBody, answer_refusal, invalid_fields

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The recording, or an option, is wrong"},
    401: {"model": ErrorBody, "description": "A key is needed"},
    404: {"model": ErrorBody, "description": "No such model"},
    413: {"model": ErrorBody, "description": "Too large, or too long"},
    422: {"model": ErrorBody, "description": "A field is wrong"},
    429: {"model": ErrorBody, "description": "Too many requests; Retry-After says when"},
    502: {"model": ErrorBody, "description": "Triton reported an error"},
    503: {"model": ErrorBody, "description": "Triton is down, or all is busy; Retry-After says when"},
    504: {"model": ErrorBody, "description": "Triton did not answer in time"},
}


def create_app(settings: Settings) -> FastAPI:
    """Return the application. It connects to Triton when it is started, and starts without one."""
    metrics = Metrics()
    admission = Admission(settings.gateway_max_streams, settings.gateway_max_requests)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        recognisers = Recognisers(settings)
        app.state.gateway = Gateway(settings, recognisers, admission, metrics)
        try:
            yield
        finally:
            await recognisers.close()

    # FastAPIOffline brings the assets of the API pages along, which FastAPI would load from elsewhere.
    app = FastAPIOffline(
        title="Amira ASR gateway",
        version=version("amira-asr"),
        description="Speech recognition by NVIDIA Triton for callers without gRPC. "
        "`WS /v2/decode/stream/{model}` takes live audio: see docs/gateway.md.",
        lifespan=lifespan,
    )
    app.state.admission = admission
    for error in (AmiraError, HTTPException):
        app.add_exception_handler(error, answer_refusal)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.include_router(decode.router, responses=_ERRORS)
    app.include_router(openai_api.router, responses=_ERRORS)
    app.include_router(live.router)
    app.include_router(health.router)
    app.mount("/", page_files(settings.gateway_draft))
    app.add_middleware(Guard, settings=settings)
    if origins := origins_of(settings):
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    app.add_middleware(RequestIds, metrics=metrics)
    return app


async def _answer_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  it is registered for nothing else
    return invalid_fields([dict(item) for item in error.errors()]).response()
