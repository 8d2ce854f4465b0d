"""The JavaScript client's own tests, run by Node against a real server, and a real gateway where it is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from amira_asr import AsrClient, load_settings
from scripts.serving.server import free_ports
from tests.conftest import ROOT

PACKAGE = ROOT / "clients" / "javascript"


@contextlib.contextmanager
def gateway(endpoint):
    """A gateway to the server, and its URL; None where its package is not installed."""
    if importlib.util.find_spec("amira_gateway") is None:
        yield None
        return
    [port] = free_ports(1, "127.0.0.1")
    command = [sys.executable, "-m", "amira_gateway", "--port", str(port), "--endpoint", endpoint]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, "the gateway ended while it started"
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def expected(transcript, events):
    return {
        "text": transcript.text,
        "tokens": [token.id for token in transcript.tokens],
        "words": [[word.text, word.start_secs, word.end_secs] for word in transcript.words],
        "events": events,
    }


def test_javascript_client(server, speech, tmp_path):
    npm = shutil.which("npm")
    if npm is None or not (PACKAGE / "node_modules").is_dir():
        pytest.skip("needs Node and the packages of clients/javascript: run `make test-js`")
    pcm = np.round(speech * 32768).clip(-32768, 32767).astype("<i2")
    with AsrClient(load_settings(triton_endpoint=server.grpc_endpoint)) as client:
        streamed = list(client.stream([pcm]))
        whole = client.transcribe(pcm.astype(np.float32) / np.float32(32768))
    assert streamed[-1].text
    (tmp_path / "recording.raw").write_bytes(pcm.tobytes())
    with gateway(server.grpc_endpoint) as url:
        site = {
            "endpoint": server.grpc_endpoint,
            "gateway": url,
            "recording": str(tmp_path / "recording.raw"),
            "streamed": expected(streamed[-1], len(streamed)),
            "whole": expected(whole, 1),
        }
        (tmp_path / "site.json").write_text(json.dumps(site))
        done = subprocess.run(
            [npm, "test", "--silent"],
            cwd=PACKAGE,
            env={**os.environ, "AMIRA_TEST_SITE": str(tmp_path / "site.json")},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout[-600:])
