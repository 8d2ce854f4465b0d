"""Prometheus metrics of the gateway; Triton has its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "amira_gateway_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.request_secs = Histogram(
            "amira_gateway_request_seconds",
            "From request to the last byte of its answer",
            ["route"],
            buckets=_SECS,
            registry=self.registry,
        )
        self.streams = Counter(
            "amira_gateway_streams", "Streams that ended", ["model", "outcome"], registry=self.registry
        )
        self.live_streams = Gauge("amira_gateway_live_streams", "Streams open now", registry=self.registry)
        self.audio_secs = Counter(
            "amira_gateway_audio_seconds", "Audio recognised", ["model", "kind"], registry=self.registry
        )
        self.chunk_secs = Histogram(
            "amira_gateway_chunk_seconds",
            "From sending a chunk of a stream to Triton to its answer",
            buckets=_SECS,
            registry=self.registry,
        )
