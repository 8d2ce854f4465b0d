"""Spans from the client through every step of the ensemble and the joint's calls, in a real OTLP collector."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import socket
import subprocess
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import pytest

from amira_asr import AsrClient
from amira_asr.settings import Settings
from amira_asr.tracing import configure
from scripts.serving.ports import free_ports
from tests.server.streams import Streams

pytestmark = pytest.mark.server

STEPS = {
    "asr_streaming": ("preprocessor", "encoder", "decoder", "decoder_greedy"),
    "asr_batch": ("preprocessor_batch", "encoder_batch", "decoder_batch", "decoder_greedy"),
}


@dataclass(frozen=True)
class Seen:
    """A span that reached the collector."""

    trace: str
    parent: str
    id: str
    name: str


class Collector:
    """A running collector that writes down each span it gets."""

    def __init__(self, url, log):
        self.url, self._log = url, log

    @property
    def text(self):
        return self._log.read_text(errors="replace")

    def spans(self):
        """Whatever has come so far, by ID."""
        fields = re.findall(r"Trace ID\s*: (\w+)\s+Parent ID\s*: *(\w*)\s+ID\s*: (\w+)\s+Name\s*: (\S+)", self.text)
        return {span.id: span for span in (Seen(*found) for found in fields)}

    def wait(self, enough, seconds=60):
        """The spans once there are enough of them."""
        deadline = time.monotonic() + seconds
        while not enough(spans := self.spans()):
            assert time.monotonic() < deadline, sorted(span.name for span in spans.values())
            time.sleep(0.3)
        return spans


@pytest.fixture
def collector(server, tmp_path):
    """The collector that the server of the session sends its spans to."""
    found = importlib.util.find_spec("rotel")
    if found is None or found.origin is None:
        pytest.skip("rotel, an OpenTelemetry collector, is not installed")
    url = server.options.tracing.endpoint
    command = [
        Path(found.origin).parent / "rotel-agent",
        "start",
        f"--otlp-http-endpoint={urllib.parse.urlsplit(url).netloc}",
        f"--otlp-grpc-endpoint=127.0.0.1:{free_ports(1, '127.0.0.1')[0]}",
        "--exporter=blackhole",
        "--debug-log=traces",
        "--debug-log-verbosity=detailed",
    ]
    log = tmp_path / "collector.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait_for_port(url)
        yield Collector(url, log)
    finally:
        process.terminate()
        process.wait(20)


def _wait_for_port(url):
    address = urllib.parse.urlsplit(url)
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection((address.hostname, address.port), 1):
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def client_spans(url):
    """Let the client's spans go to the collector; OpenTelemetry takes one provider a process, so it is given back."""
    trace, once = pytest.importorskip("opentelemetry.trace"), pytest.importorskip("opentelemetry.util._once")
    pytest.importorskip("opentelemetry.exporter.otlp.json.http.trace_exporter")
    configure(url)
    provider = trace.get_tracer_provider()
    try:
        yield
    finally:
        provider.shutdown()
        trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = None, once.Once()


def lineage(span, spans):
    """Names from a span up to the root."""
    names = []
    while span is not None:
        names.append(span.name)
        span = spans.get(span.parent)
    return names


def traces(spans):
    """The spans of the latest trace with each root, by its name."""
    found = {}
    for span in spans.values():
        found.setdefault(span.trace, []).append(span)
    return {
        root: members
        for members in found.values()
        for root in ("amira.stream", "amira.transcribe")
        if root in {span.name for span in members}
    }


def test_the_clients_span_is_the_ancestor_of_every_step(server, collector, speech):
    def missing(spans):
        """What has not come of the latest stream and recording, parents included."""
        seen = traces(spans)
        for root, ensemble in (("amira.stream", "asr_streaming"), ("amira.transcribe", "asr_batch")):
            members = seen.get(root, [])
            yield from {root, ensemble, *STEPS[ensemble]} - {span.name for span in members}
            for names in (lineage(span, spans) for span in members if span.name in STEPS[ensemble]):
                if ensemble not in names or names[-1] != root:
                    yield names

    # Exporters give a batch up that takes too long, as on a machine with much else to do.
    for attempt in range(3):
        with client_spans(collector.url), AsrClient(Settings(triton_endpoint=server.grpc_endpoint)) as client:
            chunks = len(list(client.stream([speech])))
            client.transcribe(speech)

        def enough(spans, chunks=chunks):
            encoded = [span for span in traces(spans).get("amira.stream", []) if span.name == "encoder"]
            return len(encoded) == chunks and not list(missing(spans))

        with contextlib.suppress(AssertionError):
            collector.wait(enough, seconds=20)
            break
        assert attempt < 2, list(missing(collector.spans()))
    spans = collector.spans()
    joint = [lineage(span, spans) for span in spans.values() if span.name == "decoder_greedy"]
    assert all(names[1] in ("decoder", "decoder_batch") for names in joint)


def test_nothing_that_is_said_is_in_a_span(server, collector, speech):
    with client_spans(collector.url), AsrClient(Settings(triton_endpoint=server.grpc_endpoint)) as client:
        final = list(client.stream([speech]))[-1]
    collector.wait(lambda spans: {"amira.stream", "decoder"} <= {span.name for span in spans.values()})
    words = [word.text for word in final.words if len(word.text) > 4]
    assert words
    assert [word for word in words if word in collector.text] == []


def test_requests_without_a_trace_leave_none(server, collector, speech):
    Streams(server.grpc_endpoint).batch(speech)
    time.sleep(3)
    assert "asr_batch" not in {span.name for span in collector.spans().values()}
