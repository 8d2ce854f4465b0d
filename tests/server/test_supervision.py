"""What the launcher does when the server it started dies or hangs."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request

import psutil
import pytest

from tests.server.streams import Streams
from tests.server.stubs import stub_of
from tests.server.test_serve import serve

WATCHDOG_SECS = 8


class Launched:
    """`python -m scripts.serve`, and what it prints."""

    def __init__(self, folder):
        self.process = serve(folder, AMIRA_WATCHDOG_SECS=str(WATCHDOG_SECS), AMIRA_MAX_RESTARTS="2")
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        ready = self.wait_for("ready: ")
        self.endpoint, self.http_port, self.metrics_url = (ready.split()[index].rstrip(",") for index in (2, 5, 7))

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def wait_for(self, beginning, secs=120, count=1):
        """Wait until so many lines begin so; return the last of them."""
        deadline = time.monotonic() + secs
        while len(found := [line for line in self.lines if line.startswith(beginning)]) < count:
            assert time.monotonic() < deadline, self.lines
            assert self.process.poll() is None or len(self.lines) > 0, self.lines
            time.sleep(0.05)
        return found[-1]

    def stub(self, model):
        """The process of a model's backend."""
        return stub_of(self.process.pid, model)

    def is_ready(self):
        """What a load balancer sees over HTTP."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/v2/health/ready", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def restarts(self):
        """The metric, by cause."""
        with urllib.request.urlopen(self.metrics_url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.startswith("amira_server_restarts{")]
        return {line.split('cause="')[1].split('"')[0]: float(line.split()[-1]) for line in found}


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """A launcher; its server is broken several times."""
    running = Launched(tmp_path_factory.mktemp("supervised"))
    yield running
    running.process.terminate()
    running.process.wait(60)


def until(condition, secs):
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_backend_is_noticed_and_the_server_started_anew(launched, speech):
    expected = Streams(launched.endpoint).stream(speech)[-1].tokens
    launched.stub("encoder").kill()
    until(lambda: not launched.is_ready(), 10)
    launched.wait_for("restarted (backend_died)")
    assert launched.is_ready()
    assert Streams(launched.endpoint).stream(speech)[-1].tokens == expected
    until(lambda: launched.restarts() == {"exited": 0, "backend_died": 1, "hung": 0}, 5)
    assert any("the backend process of encoder_0_0 has died" in line for line in launched.lines)


def test_a_backend_that_hangs_is_noticed_and_the_server_is_not_ready_meanwhile(launched):
    launched.stub("decoder_batch").suspend()
    until(lambda: not launched.is_ready(), WATCHDOG_SECS)
    assert not any(line.startswith("restarted (hung)") for line in launched.lines)
    launched.wait_for("restarted (hung)")
    assert launched.is_ready()
    until(lambda: launched.restarts() == {"exited": 0, "backend_died": 1, "hung": 1}, 5)
    assert any("asr_batch has given no sign of life" in line for line in launched.lines)


def test_a_server_that_does_not_stay_up_is_given_up(launched):
    psutil.Process(launched.process.pid).children()[0].kill()
    assert launched.process.wait(30) == 1
    launched.wait_for("given up after 2 restarts")
    assert any("tritonserver ended by itself with status -9" in line for line in launched.lines)
