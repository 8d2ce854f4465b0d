"""Health and metrics."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from amira_asr import AmiraError, ServerModel
from amira_asr.endpoint import EndpointState
from amira_gateway.gateway import Gateway, gateway_of

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """Whether work is accepted: `healthy`, `unhealthy` while Triton is not ready, `draining` while stopping."""

    status: str


class EnsembleHealth(BaseModel):
    """One ensemble in Triton."""

    name: str
    version: str
    ready: bool


class Circuit(BaseModel):
    """How a server has done lately.

    Attributes:
        endpoint: host:port.
        state: `closed` while it is used, `open` while it is left alone, `half-open` when one call may try it.
        failures: in a row.
        retry_after_secs: until it is tried again.
        last_error: the latest of the failures.
    """

    endpoint: str
    state: str
    failures: int
    retry_after_secs: float
    last_error: str


class ModelHealth(BaseModel):
    """One recogniser.

    Attributes:
        name: what callers call it.
        ready: whether it accepts streams and recordings.
        streaming: its ensemble for streams.
        batch: its ensemble for recordings.
        live_streams: streams open on it through this gateway.
        circuits: of the servers, as its requests found them.
        sample_rate: of its audio, Hz.
        chunk_ms: duration of a chunk of a stream.
        max_audio_secs: longest recording in one piece; longer ones are split.
    """

    name: str
    ready: bool
    streaming: EnsembleHealth | None
    batch: EnsembleHealth | None
    live_streams: int
    circuits: list[Circuit]
    sample_rate: int
    chunk_ms: float
    max_audio_secs: float | None


class Load(BaseModel):
    """How many are being served, and at most."""

    active: int
    limit: int


class TritonHealth(BaseModel):
    """The server behind."""

    endpoint: str
    ready: bool
    error: str | None = None


class DetailedHealth(Health):
    """Everything that an operator asks first."""

    uptime_secs: float
    triton: TritonHealth
    streams: Load
    recordings: Load
    models: list[ModelHealth]


_UNHEALTHY: dict[int | str, dict[str, Any]] = {
    503: {"model": Health, "description": "Triton is not ready, or the gateway is stopping"}
}


@router.get("/health", response_model=Health, responses=_UNHEALTHY, summary="Whether work is accepted")
async def health(request: Request) -> JSONResponse:
    """Return 200 when work is accepted, 503 otherwise."""
    gateway = gateway_of(request)
    status = _status(gateway, ready=await gateway.recognisers.server_ready())
    return JSONResponse(Health(status=status).model_dump(), 200 if status == "healthy" else 503)


@router.get("/health/live", response_model=Health, summary="Whether the gateway runs at all")
async def live() -> Health:
    """Return 200 whatever Triton does: for a supervisor that restarts what is dead."""
    return Health(status="healthy")


@router.get(
    "/health/detailed",
    response_model=DetailedHealth,
    responses={503: {"model": DetailedHealth, "description": "as for /health"}},
    summary="Readiness per model, load, and the state of the circuit to Triton",
)
async def detailed(request: Request) -> JSONResponse:
    """Return what there is to know, with the status of `/health`."""
    gateway = gateway_of(request)
    admission = gateway.admission
    ready, models, error = await gateway.recognisers.server_ready(), [], None
    try:
        for recogniser in await gateway.recognisers.all():
            kinds = [model for model in (recogniser.streaming, recogniser.batch) if model]
            models.append(
                ModelHealth(
                    name=recogniser.name,
                    ready=ready and all(model.ready for model in kinds),
                    streaming=_ensemble(recogniser.streaming),
                    batch=_ensemble(recogniser.batch),
                    live_streams=admission.streams_by_model[recogniser.name],
                    circuits=[_circuit(state) for state in gateway.recognisers.circuits(recogniser)],
                    sample_rate=kinds[0].sample_rate,
                    chunk_ms=kinds[0].chunk_ms,
                    max_audio_secs=recogniser.batch.max_audio_secs if recogniser.batch else None,
                )
            )
    except AmiraError as problem:
        error = str(problem)
    status = _status(gateway, ready=ready)
    body = DetailedHealth(
        status=status,
        uptime_secs=round(time.monotonic() - gateway.started, 1),
        triton=TritonHealth(
            endpoint=gateway.settings.triton_endpoint,
            ready=ready,
            error=error,
        ),
        streams=Load(active=admission.active["stream"], limit=admission.limits["stream"]),
        recordings=Load(active=admission.active["request"], limit=admission.limits["request"]),
        models=models,
    )
    return JSONResponse(body.model_dump(), 200 if status == "healthy" else 503)


@router.get("/metrics", response_class=PlainTextResponse, summary="Prometheus metrics")
async def metrics(request: Request) -> PlainTextResponse:
    """Return the metrics of this gateway; Triton's are on its own port."""
    text = generate_latest(gateway_of(request).metrics.registry).decode()
    return PlainTextResponse(text, media_type=CONTENT_TYPE_LATEST)


def _status(gateway: Gateway, *, ready: bool) -> str:
    if gateway.admission.draining:
        return "draining"
    return "healthy" if ready else "unhealthy"


def _ensemble(model: ServerModel | None) -> EnsembleHealth | None:
    return None if model is None else EnsembleHealth(name=model.name, version=model.version, ready=model.ready)


def _circuit(state: EndpointState) -> Circuit:
    return Circuit(
        endpoint=state.address,
        state=state.circuit,
        failures=state.failures,
        retry_after_secs=round(state.retry_after_secs, 1),
        last_error=state.last_error,
    )
