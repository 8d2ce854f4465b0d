"""OpenTelemetry spans of streams and utterances, whose context goes to the server: its spans become their children.

Without the package (`pip install "amira-asr[tracing]"`), or where the application does not trace, nothing happens. What
is said never becomes part of a span.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from amira_asr.errors import AmiraError
from amira_asr.events import Final, Partial

try:
    from opentelemetry import propagate, trace
except ImportError:
    _INSTALLED = False
else:
    _INSTALLED = True

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan

_NAME = "amira_asr"


class Span:
    """One stream or utterance, while the context manager is open. A child of the span that is current then."""

    def __init__(self, name: str, **attributes: str | float) -> None:
        """Prepare; names and attributes are free of text."""
        self._name = name
        self._attributes = {f"amira.{key}": value for key, value in attributes.items()}
        self._span: OtelSpan | None = None

    def __enter__(self) -> Span:
        """Begin."""
        if _INSTALLED:
            tracer = trace.get_tracer(_NAME)
            self._span = tracer.start_span(self._name, attributes=self._attributes, kind=trace.SpanKind.CLIENT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        """End, with the kind of error if there is one: its text may hold what was said."""
        if self._span is None:
            return
        if isinstance(error, Exception):
            self._span.set_status(trace.StatusCode.ERROR, type(error).__name__)
        self._span.end()

    def headers(self) -> dict[str, str]:
        """Return what tells the server about this span: `traceparent`; nothing where nobody traces."""
        carrier: dict[str, str] = {}
        if self._span is not None:
            propagate.inject(carrier, context=trace.set_span_in_context(self._span))
        return carrier

    def opened(self, sequence_id: str, address: str) -> None:
        """Note that a sequence on a server carries the stream from here on."""
        self._event("sequence", {"amira.correlation_id": sequence_id, "server.address": address})

    def heard(self, event: Partial | Final) -> None:
        """Note an event: how late, how much."""
        self._event(
            "final" if isinstance(event, Final) else "partial",
            {
                "amira.latency_ms": event.latency_ms,
                "amira.audio_secs": event.audio_secs,
                "amira.words": len(event.words),
                "amira.segments": len(event.segments),
            },
        )

    def _event(self, name: str, attributes: dict[str, str | int | float]) -> None:
        if self._span is not None and self._span.is_recording():
            self._span.add_event(name, attributes)


def configure(endpoint: str, service: str = "amira-asr-client") -> None:
    """Send the spans of this process to an OTLP/HTTP receiver: for programs that have no OpenTelemetry of their own.

    Args:
        endpoint: its URL, such as http://localhost:4318/v1/traces; empty for nothing.
        service: name of this program in the traces.

    Raises:
        AmiraError: the packages are missing.
    """
    if not endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise AmiraError(
            f'tracing_endpoint is {endpoint!r}, but {error.name} is missing: pip install "amira-asr[tracing]"'
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)
