"""Servers that several files of tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.serving.limits import Limits
from scripts.serving.server import TritonServer
from scripts.serving.staging import RepositorySettings
from tests.conftest import start_server

IDLE_SECS = 2.0
MAX_STREAMS = 4
LIMITS = Limits(
    max_concurrent_batches=3,
    max_stream_secs=72.0,
    max_streams_per_client=2,
    rate_limit="40/hour",
    max_parameter_bytes=2000,
)


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server with few places and little patience."""
    settings = RepositorySettings(max_concurrent_streams=MAX_STREAMS, stream_timeout_secs=IDLE_SECS, limits=LIMITS)
    with start_server(tmp_path_factory.mktemp("strict"), settings) as running:
        yield running
