"""Time to the first word on the browser page, with and without the draft, in the same sessions.

    python -m loadtest.draft [--draft work/draft] [--out figures.json]

A real Chromium plays recordings to the page at the pace of speech; gateway and Triton run beside it. The page notes
when it showed the first word of the draft and the first one of the server.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect

from amira_asr.audio import Float32, load_audio
from loadtest.chromium import chromium
from loadtest.gateway import ROOT, gateway_process
from scripts.measurement import write_measurement
from scripts.serving.temporary import serve

SAMPLE_RATE = 16_000
# Silence before a recording: it begins at different places within a chunk.
DELAYS_SECS = (0.0, 0.112, 0.224, 0.336, 0.448)


@dataclass(frozen=True)
class Session:
    """One recording on the page.

    Attributes:
        server_ms: from the first word's first sound to the server's first word on the page.
        draft_ms: to the first word on the page, whoever it came from.
        kept: whether the final transcript begins with what the draft showed first.
    """

    server_ms: float
    draft_ms: float
    kept: bool


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draft", type=Path, default=ROOT / "work" / "draft", help="folder of `make draft`")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    if not (arguments.draft / "draft.json").is_file():
        parser.error(f"{arguments.draft} holds no draft: run `make draft`")
    variables = {"AMIRA_GATEWAY_DRAFT": str(arguments.draft.resolve())}
    with (
        serve(ROOT / "model-repo") as triton,
        gateway_process(triton.grpc_endpoint, variables) as (port, _),
        chromium() as browser,
    ):
        page = _open(browser.new_page(), port)
        clips = [load_audio(path) for path in sorted((ROOT / "tests" / "data" / "audio").glob("*.flac"))]
        _play(page, clips[0])  # the first session warms up
        sessions = [_play(page, _delayed(clip, delay)) for clip in clips for delay in DELAYS_SECS]
    figures = {
        "sessions": len(sessions),
        "kept": sum(session.kept for session in sessions),
        "server_ms": _percentiles([session.server_ms for session in sessions]),
        "draft_ms": _percentiles([session.draft_ms for session in sessions]),
        "gained_ms": _percentiles([session.server_ms - session.draft_ms for session in sessions]),
        "draft_chunk_ms": _chunk_ms(arguments.draft / "draft.json"),
        "server_chunk_ms": _chunk_ms(ROOT / "model-repo" / "description.json"),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    if arguments.out:
        write_measurement(arguments.out, figures)
    return 0


def _open(page: Page, port: int) -> Page:
    page.goto(f"http://127.0.0.1:{port}")
    page.click("summary:has-text('Options')")
    page.check("#draft")
    expect(page.locator("#draft-state")).to_have_text("(ready)", timeout=60_000)
    return page


def _play(page: Page, audio: Float32) -> Session:
    """Play [samples] to the page."""
    page.set_input_files("#file", [{"name": "speech.wav", "mimeType": "audio/wav", "buffer": _wav(audio)}])
    expect(page.locator("#status")).to_contain_text("Playing", timeout=10_000)
    expect(page.locator("#status")).to_have_text("Done", timeout=60_000)
    spoken = float((page.text_content("#timings tr td:nth-child(2)") or "").removesuffix(" s")) * 1e3
    server = float(page.get_attribute("#first-word", "data-at") or "nan")
    draft = float(page.get_attribute("#first-draft", "data-at") or "inf")
    shown = (page.get_attribute("#first-draft", "data-text") or "").strip()
    final = page.text_content("#transcript") or ""
    return Session(server - spoken, min(server, draft) - spoken, kept=bool(shown) and final.startswith(shown))


def _delayed(audio: Float32, secs: float) -> Float32:
    return np.concatenate([np.zeros(round(secs * SAMPLE_RATE), np.float32), audio])


def _wav(audio: Float32) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(np.round(audio * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def _percentiles(values: list[float]) -> dict[str, float]:
    return {"p50": float(np.percentile(values, 50)), "p90": float(np.percentile(values, 90))}


def _chunk_ms(description: Path) -> float:
    numbers = json.loads(description.read_text())
    return float(numbers["streaming"]["chunk_samples"] / numbers["mel"]["sample_rate"] * 1e3)


if __name__ == "__main__":
    sys.exit(main())
