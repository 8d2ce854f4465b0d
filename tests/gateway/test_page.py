"""The page in a real Chromium, a real Triton behind: words appear, by microphone and by file."""

from __future__ import annotations

import difflib
import re
import wave

import numpy as np
import pytest

from tests.conftest import CLIPS
from tests.gateway.conftest import pcm, running_gateway

pytest.importorskip("playwright", reason="playwright drives Chromium")
from playwright.sync_api import expect

from loadtest.chromium import chromium

READY_MS = 30_000


@pytest.fixture(scope="module")
def microphone(clips, tmp_path_factory):
    """A recording as the microphone: 48 kHz, as Chromium likes it; silence around it."""
    silence = np.zeros(12_000, np.float32)
    audio = np.concatenate([silence, clips[1].audio, silence, silence])
    path = tmp_path_factory.mktemp("microphone") / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        file.writeframes(pcm(np.interp(np.arange(3 * len(audio)) / 3, np.arange(len(audio)), audio)))
    return path


@pytest.fixture(scope="module")
def browser(microphone):
    with chromium(microphone) as context:
        yield context


@pytest.fixture
def page(browser, gateway):
    page = browser.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    foreign = []
    page.on("request", lambda request: foreign.append(request.url) if gateway.url not in request.url else None)
    page.goto(gateway.url)
    page.wait_for_selector("#model option", state="attached")
    yield page
    page.close()
    assert problems == []
    assert [url for url in foreign if not url.startswith(("ws://127.0.0.1", "blob:", "data:"))] == []


def finished(page):
    expect(page.locator("#status")).to_have_text("Done", timeout=READY_MS)
    return page.text_content("#transcript")


def test_a_microphone_becomes_words(page, http, clips):
    expected = http.post("/v2/decode/batch/default", content=pcm(clips[1].audio)).json()["text"]
    page.keyboard.press("Tab")  # to the link that skips ahead
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.get_attribute("#microphone", "aria-pressed") == "true"
    expect(page.locator("#transcript")).to_have_text(re.compile(r"\w{2}"), timeout=READY_MS)
    assert page.text_content("#status") == "Listening"
    page.wait_for_timeout(4000)
    page.keyboard.press("Enter")
    text = finished(page)
    # The microphone begins somewhere in the recording, so not every word is the same; letters are more alike.
    assert difflib.SequenceMatcher(None, text, expected, autojunk=False).ratio() > 0.5, (text, expected)
    assert page.text_content("#first-word").endswith(" ms")
    assert page.text_content("#behind").endswith(" ms")


def test_a_file_becomes_the_words_that_the_server_hears(page, http, clips):
    recording = CLIPS / f"{clips[0].name}.flac"
    expected = http.post("/v2/decode/batch/default", content=recording.read_bytes()).json()
    page.evaluate("document.getElementById('fast').checked = true")
    page.set_input_files("#file", recording)
    assert finished(page) == expected["text"]
    assert page.text_content("#spoken").split() == expected["text"].split()
    rows = page.eval_on_selector_all("#timings tr", "rows => rows.map(row => row.cells[0].textContent)")
    assert rows == expected["text"].split()
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.path().read_text().startswith("WEBVTT\n\n00:00:")
    page.click("#clear")
    assert page.text_content("#transcript") == ""
    assert page.is_disabled("#copy")


def test_words_that_may_change_are_light(page, clips):
    page.evaluate("""() => {
        window.seen = new Set();
        new MutationObserver(() => {
            const light = document.querySelector('#transcript .unstable');
            if (light && light.textContent.trim()) window.seen.add(light.textContent.trim());
        }).observe(document.querySelector('#transcript'), {childList: true, subtree: true, characterData: true});
    }""")
    page.evaluate("document.getElementById('fast').checked = true")
    page.set_input_files("#file", CLIPS / f"{clips[0].name}.flac")
    finished(page)
    assert page.evaluate("window.seen.size") > 0
    assert page.text_content("#transcript .unstable") == ""


def test_what_goes_wrong_is_said(page, tmp_path):
    bad = tmp_path / "talk.wav"
    bad.write_text("no audio")
    page.set_input_files("#file", bad)
    expect(page.locator("#alert")).to_contain_text("talk.wav is no audio that this browser can decode")


def test_without_triton_the_page_says_so(browser, clips):
    with running_gateway("127.0.0.1:9") as gateway:
        page = browser.new_page()
        page.goto(gateway.url)
        page.evaluate("document.getElementById('fast').checked = true")
        page.set_input_files("#file", CLIPS / f"{clips[1].name}.flac")
        expect(page.locator("#alert")).to_contain_text("is not ready")
        page.close()


def test_a_key_is_asked_for_and_used(browser, server, clips):
    with running_gateway(server.grpc_endpoint, gateway_api_keys="secret") as gateway:
        page = browser.new_page()
        page.goto(gateway.url)
        expect(page.locator("#alert")).to_contain_text("API key is needed")
        page.click("summary:has-text('Options')")
        page.fill("#key", "secret")
        page.check("#fast")
        page.wait_for_selector("#model option", state="attached")
        page.set_input_files("#file", CLIPS / f"{clips[1].name}.flac")
        assert finished(page)
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(browser, gateway, clips, scheme):
    """axe-core finds nothing, with words on the page and everything unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python has axe-core")
    page = browser.new_page()
    page.emulate_media(color_scheme=scheme)
    page.goto(gateway.url)
    page.evaluate("document.getElementById('fast').checked = true")
    page.set_input_files("#file", CLIPS / f"{clips[1].name}.flac")
    finished(page)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    results = axe.Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    page.close()
