"""The served model gives the tokens of the sherpa-onnx package itself, on real files and on random weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.zipformer.synthetic import write_model

pytest.importorskip("sherpa_onnx", reason="sherpa-onnx is not installed (requirements/baselines.txt)")

from scripts.evaluation.recordings import Utterance, read_real
from scripts.export.zipformer.compare import SERVED, SHERPA, compare

pytestmark = pytest.mark.server

SHARED = ROOT.parent / "shared"
MODEL = Path(os.environ.get("AMIRA_TEST_ZIPFORMER", SHARED / "models" / "zipformer-gigaspeech-3.3M"))
SPEECH = Path(os.environ.get("AMIRA_TEST_SPEECH", SHARED / "speech")) / "eval"


@pytest.mark.parametrize("batch", [1, "N"])
def test_random_weights_give_the_same_tokens(tmp_path, clips, batch):
    utterances = [Utterance(clip.name, "clips", clip.audio, clip.text) for clip in clips]
    assert compare(write_model(tmp_path, batch=batch), utterances)["different"] == []


@pytest.mark.timeout(600)
def test_real_files_give_the_same_tokens_on_every_recording():
    for needed in (MODEL, SPEECH):
        if not needed.is_dir():
            pytest.skip(f"not compared with sherpa-onnx on real files: {needed} is absent")
    utterances = read_real(SPEECH)
    figures = compare(MODEL, utterances)
    assert figures["different"] == []
    assert figures["systems"][SERVED]["all"]["wer"] == figures["systems"][SHERPA]["all"]["wer"] < 0.6
