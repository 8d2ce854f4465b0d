"""A server, witnesses, and how long to try: AMIRA_FUZZ_CASES, or a short run that is the same every time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.hostile.wire import Wire
from tests.hostile.witnesses import Witnesses
from tests.server.test_memory import private_mib

CASES = int(os.environ.get("AMIRA_FUZZ_CASES", "0"))
LONG_RUN = CASES > 0
# After what a first request of each kind allocates.
ALLOWED_GROWTH_MIB = 48.0

counted: Counter[str] = Counter()


def effort(short: int, share: float = 1.0) -> settings:
    """Return the settings of a property: so many cases in the short run, a share of AMIRA_FUZZ_CASES in a long one."""
    return settings(
        max_examples=max(1, round(CASES * share)) if LONG_RUN else short,
        derandomize=not LONG_RUN,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@pytest.fixture(scope="module")
def wire(server) -> Iterator[Wire]:
    connection = Wire(server.grpc_endpoint)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def witnesses(server, clips) -> Iterator[Witnesses]:
    """Known streams run until the module is done, and then no token may have differed and nothing have been lost."""
    with Witnesses(server.grpc_endpoint, [clip.audio for clip in clips]) as running:
        before = private_mib(server.pid)
        yield running
    after = private_mib(server.pid)
    assert running.complaints == []
    assert running.streams >= 3
    counted["known streams, every token as undisturbed"] += running.streams
    assert set(before) == set(after), "a server process was replaced"
    growth = {name: after[name] - before[name] for name in before}
    assert max(growth.values()) < ALLOWED_GROWTH_MIB, growth
    assert server.is_ready()


def pytest_terminal_summary(terminalreporter) -> None:
    if counted:
        terminalreporter.section("hostile input")
        for name, count in sorted(counted.items()):
            terminalreporter.write_line(f"{count:>8,} {name}")
