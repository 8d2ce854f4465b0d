"""The draft recogniser in the page: the numbers of the server's backends, the words of the server's decoder."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from amira_asr import AsrClient, Settings, SettingsError
from amira_gateway.page_files import page_files
from loadtest.raw_pipeline import read_config
from log_mel.mel import LogMel
from scripts.draft import make_draft
from tests.conftest import CLIPS, ROOT
from tests.gateway.conftest import running_gateway

pytest.importorskip("playwright", reason="playwright drives Chromium")
from playwright.sync_api import expect

from loadtest.chromium import chromium

# Runs the recogniser on [samples] in the page itself, in pieces of odd length.
RECOGNISE = """async (samples) => {
    const ort = await import(new URL("draft/ort.wasm.min.mjs", document.baseURI));
    ort.env.wasm.wasmPaths = new URL("draft/", document.baseURI).href;
    ort.env.wasm.numThreads = 1;
    const { DraftModel } = await import(new URL("js/draft/recogniser.js", document.baseURI));
    const stream = (await DraftModel.load(ort, new URL("draft/", document.baseURI).href)).open();
    const audio = Float32Array.from(samples);
    for (let start = 0; start < audio.length; start += 1237) await stream.push(audio.subarray(start, start + 1237));
    return { tokens: stream.tokens, frames: stream.frames };
}"""
FEATURES = """async ({ samples, mel, filterbank, window }) => {
    const { StreamingLogMel } = await import(new URL("js/draft/log_mel.js", document.baseURI));
    const features = new StreamingLogMel(mel, Float32Array.from(filterbank), Float32Array.from(window));
    const audio = Float32Array.from(samples);
    const frames = [];
    for (let start = 0; start < audio.length; start += 777) {
        frames.push(...features.push(audio.subarray(start, start + 777)));
    }
    return frames.map((frame) => Array.from(frame));
}"""

# The server's messages arrive two seconds late. The draft of the same model would otherwise come with them.
FAR_AWAY = """window.WebSocket = class extends WebSocket {
    set onmessage(handle) { super.onmessage = (event) => setTimeout(handle, 2000, event); }
    set onclose(handle) { super.onclose = (event) => setTimeout(handle, 2100, event); }
};"""


@pytest.fixture(scope="module")
def draft_folder(tmp_path_factory):
    """The served weights, not quantised, so that the server's own words are to be expected."""
    if shutil.which("npm") is None:
        pytest.skip("npm is missing (Debian: apt install npm): it fetches ONNX Runtime Web")
    folder = tmp_path_factory.mktemp("draft")
    make_draft(ROOT / "model-repo", folder, quantised=False)
    return folder


@pytest.fixture(scope="module")
def page():
    with chromium() as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def drafting(server, draft_folder):
    with running_gateway(server.grpc_endpoint, gateway_draft=draft_folder) as gateway:
        yield gateway


def test_features_are_those_of_the_backend(page, gateway, clips):
    repository = ROOT / "model-repo"
    mel = LogMel.configured(read_config(repository / "preprocessor"), repository / "preprocessor" / "1")
    audio = clips[1].audio[:32_000]
    page.goto(gateway.url)
    given = {
        "samples": audio.tolist(),
        "filterbank": mel.filterbank.ravel().tolist(),
        "window": mel.window.tolist(),
        "mel": {
            "n_mels": mel.n_mels,
            "n_fft": mel.n_fft,
            "hop_samples": mel.hop_samples,
            "preemphasis": mel.preemphasis,
            "log_guard": mel.log_guard,
        },
    }
    features = np.array(page.evaluate(FEATURES, given))
    expected = mel.utterance(audio)
    # The last frames look beyond the audio that has come.
    assert len(features) == len(expected) - 1
    np.testing.assert_allclose(features, expected[: len(features)], atol=2e-4)


def test_tokens_are_those_of_the_server(server_tokens, page_tokens):
    found, frames = page_tokens
    expected = [token for token in server_tokens if round(token.time_secs / 0.08) < frames]
    assert len(expected) > 20
    assert [token["piece"] for token in found] == [token.text for token in expected]
    assert [token["frame"] for token in found] == [round(token.time_secs / 0.08) for token in expected]


@pytest.fixture(scope="module")
def page_tokens(page, drafting, clips):
    page.goto(drafting.url)
    result = page.evaluate(RECOGNISE, clips[0].audio.tolist())
    return result["tokens"], result["frames"]


@pytest.fixture(scope="module")
def server_tokens(server, clips):

    with AsrClient(Settings(triton_endpoint=server.grpc_endpoint)) as client:
        return list(client.stream([clips[0].audio]))[-1].tokens


def test_a_draft_is_shown_first_and_the_server_has_the_last_word(page, drafting, clips):
    page.add_init_script(FAR_AWAY)
    page.goto(drafting.url)
    page.click("summary:has-text('Options')")
    page.check("#draft")
    expect(page.locator("#draft-state")).to_have_text("(ready)", timeout=60_000)
    page.evaluate("""() => {
        window.drafts = [];
        new MutationObserver(() => window.drafts.push(document.querySelector('#transcript .draft').textContent))
            .observe(document.querySelector('#transcript'), {childList: true, subtree: true, characterData: true});
    }""")
    page.set_input_files("#file", CLIPS / f"{clips[1].name}.flac")
    expect(page.locator("#status")).to_have_text("Done", timeout=60_000)
    assert any(text.strip() for text in page.evaluate("window.drafts"))
    assert page.text_content("#transcript .draft") == ""
    assert 0 < millis(page, "#first-draft") < millis(page, "#first-word")
    assert page.text_content("#transcript") == page.text_content("#spoken").strip()


def millis(page, selector):
    return int(page.text_content(selector).removesuffix(" ms"))


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="it should be a folder that `make draft` made"):
        page_files(tmp_path)
