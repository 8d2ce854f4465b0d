"""The other recognisers, where their packages are (`make baselines` installs them)."""

from __future__ import annotations

import pytest

pytest.importorskip("sherpa_onnx", reason="make baselines installs it")
pytest.importorskip("pocketsphinx", reason="make baselines installs it")

import json
from dataclasses import asdict

import jiwer

from scripts.evaluation.baselines import ZIPFORMER, System, ZipformerFiles, read_others, sphinx, zipformer
from scripts.evaluation.scores import Figures
from scripts.text_normalization import normalize


def test_sphinx_follows_clear_speech_and_forgets_it(clips):
    recognise = sphinx()
    first = recognise(clips[1].audio)
    assert jiwer.wer(normalize(clips[1].text), normalize(first)) < 0.6
    recognise(clips[0].audio)
    assert recognise(clips[1].audio) == first


@pytest.mark.skipif(not ZIPFORMER.is_dir(), reason=f"no {ZIPFORMER.name}")
@pytest.mark.parametrize("method", ["greedy_search", "modified_beam_search"])
def test_zipformer_follows_clear_speech(clips, method):
    recognise = zipformer(ZipformerFiles.find(ZIPFORMER), method)
    assert jiwer.wer(normalize(clips[1].text), normalize(recognise(clips[1].audio))) < 0.4


def test_other_recognisers_are_kept_from_earlier_figures(tmp_path):
    figures = Figures(0.5, (0.4, 0.6), 0.2, 0.01, 3, 9, 0)
    other = System("Other", "package 1", 5.2, {"all": figures}, "2026-11-21, abc")
    served = System("Amira, streaming", "package 2", 5.2, {"all": figures}, "2026-11-21, abc")
    path = tmp_path / "earlier.json"
    path.write_text(json.dumps({"systems": [asdict(served), asdict(other)]}))
    (kept,) = read_others(path)
    assert json.dumps(asdict(kept), sort_keys=True) == json.dumps(asdict(other), sort_keys=True)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"0 files tokens\.txt"):
        ZipformerFiles.find(tmp_path)
