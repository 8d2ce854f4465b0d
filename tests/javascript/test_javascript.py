"""The JavaScript client: its own tests, run by Node against a real server and gateway; and in a real Chromium."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import subprocess
import tarfile
import wave

import numpy as np
import pytest

from amira_asr import AsrClient, load_settings
from tests.conftest import ROOT

pytest.importorskip("fastapi", reason="the gateway's packages are not installed")
from tests.gateway.conftest import pcm, running_gateway

PACKAGE = ROOT / "clients" / "javascript"
KEY = "schlüssel?"  # not what base64 likes


@pytest.fixture(scope="module")
def npm():
    program = shutil.which("npm")
    if program is None or not (PACKAGE / "node_modules").is_dir():
        pytest.skip("needs Node and the packages of clients/javascript: run `make test-js`")
    return program


@pytest.fixture(scope="module")
def guarded_gateway(server):
    with running_gateway(server.grpc_endpoint, gateway_api_keys=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def open_gateway(server):
    with running_gateway(server.grpc_endpoint) as running:
        yield running


def expected(transcript, events):
    return {
        "text": transcript.text,
        "tokens": [token.id for token in transcript.tokens],
        "words": [[word.text, word.start_secs, word.end_secs] for word in transcript.words],
        "events": events,
    }


def test_the_package_that_users_install_is_whole(npm, tmp_path):
    subprocess.run([npm, "pack", "--pack-destination", tmp_path], cwd=PACKAGE, check=True, capture_output=True)
    [file] = tmp_path.glob("*.tgz")
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "node_modules").symlink_to(PACKAGE / "node_modules")
    (tmp_path / "user.mjs").write_text(
        'import { AsrClient } from "./package/dist/src/index.js"; new AsrClient({ endpoint: "localhost:1" }).close();'
    )
    subprocess.run(["node", "user.mjs"], cwd=tmp_path, check=True, timeout=60)


def test_in_node(npm, server, guarded_gateway, speech, tmp_path):
    recording = np.round(speech * 32768).clip(-32768, 32767).astype("<i2")
    with AsrClient(load_settings(triton_endpoint=server.grpc_endpoint)) as client:
        streamed = list(client.stream([recording]))
        whole = client.transcribe(recording)
    assert streamed[-1].text
    (tmp_path / "recording.raw").write_bytes(recording.tobytes())
    site = {
        "endpoint": server.grpc_endpoint,
        "gateway": guarded_gateway.url,
        "key": KEY,
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
    assert "# skipped 0" in done.stdout


_SCRIPT = """async () => {
  const { GatewayClient, microphone } = await import("/js/browser.js");
  const heard = await microphone();
  setTimeout(() => heard.stop(), 6000);
  const texts = [];
  for await (const event of new GatewayClient(location.origin).stream(heard, { sampleRate: heard.sampleRate })) {
    texts.push(event.text);
  }
  return texts;
}"""


def test_in_a_browser(npm, open_gateway, clips, tmp_path):
    """The microphone becomes words."""
    pytest.importorskip("playwright", reason="playwright drives Chromium")
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("Chromium is missing (Debian: apt install chromium)")
    from loadtest.chromium import chromium  # noqa: PLC0415

    subprocess.run([npm, "run", "--silent", "build"], cwd=PACKAGE, check=True, timeout=120)
    audio = np.concatenate([np.zeros(8000, np.float32), clips[1].audio, np.zeros(32_000, np.float32)])
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        file.writeframes(pcm(np.interp(np.arange(3 * len(audio)) / 3, np.arange(len(audio)), audio)))

    def scripts(route):
        name = route.request.url.rsplit("/", 1)[-1]
        route.fulfill(body=(PACKAGE / "dist" / "src" / name).read_text(), content_type="text/javascript")

    with chromium(tmp_path / "speech.wav") as context:
        page = context.new_page()
        page.route(f"{open_gateway.url}/js/*", scripts)
        page.goto(f"{open_gateway.url}/health")  # any page of that origin
        texts = page.evaluate(_SCRIPT)
    words = clips[1].text.lower().split()
    assert len(texts) > 5
    # What the small model makes of the first seconds has something of what is said.
    assert difflib.SequenceMatcher(None, texts[-1].lower().split(), words[: len(texts[-1].split())]).ratio() > 0.2, (
        texts
    )
