"""Triton's own OpenTelemetry export, as command line flags."""

from __future__ import annotations

from dataclasses import dataclass

_SERVICE = "amira-asr"


@dataclass(frozen=True)
class Tracing:
    """Where spans go, and of which requests.

    Attributes:
        endpoint: URL of an OTLP/HTTP receiver, such as http://collector:4318/v1/traces; empty for no tracing.
        rate: one of so many requests is traced that come without `traceparent`; 0 for none. Those that come with it
            always are.
    """

    endpoint: str = ""
    rate: int = 0

    def flags(self) -> list[str]:
        """Return the flags for `tritonserver`.

        Level TIMESTAMPS and never TENSORS: that would send audio and text.
        """
        if not self.endpoint:
            return []
        settings = {
            "mode": "opentelemetry",
            "level": "TIMESTAMPS",
            "rate": self.rate,
            "count": -1,
            "opentelemetry,url": self.endpoint,
            "opentelemetry,bsp_schedule_delay": 2000,  # milliseconds
            "opentelemetry,resource": f"service.name={_SERVICE}",
        }
        return [f"--trace-config={name}={value}" for name, value in settings.items()]
