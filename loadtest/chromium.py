"""A real headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, sync_playwright

_QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


class ChromiumMissingError(Exception):
    """There is no Chromium; the text says how to get it."""


@contextmanager
def chromium(microphone: Path | None = None, **options: Any) -> Iterator[BrowserContext]:
    """Start Chromium, with a recording as its microphone. Raises ChromiumMissingError where there is none."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise ChromiumMissingError("Chromium is missing (Debian: apt install chromium)")
    arguments = ["--no-sandbox", "--disable-gpu", *_QUIET]
    if microphone is not None:
        arguments += [
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}%noloop",
        ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=arguments)
        context = browser.new_context(**options)
        try:
            yield context
        finally:
            browser.close()
