"""Synthetic speech files go through `pack` unharmed; the engine itself is not needed."""

import numpy as np
import pytest

pytest.importorskip("kokoro_onnx")
pytest.importorskip("soxr")

from scripts.train.corpus import Corpus
from scripts.train.evaluation_text import EvaluationText
from scripts.train.kokoro import Kokoro
from scripts.train.pack import Packer, pack_synthetic
from scripts.train.synthesize import SpeechFiles


def test_files_are_packed_at_the_right_samples(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.train.synthesize.FILE_SECONDS", 2.5)
    files = SpeechFiles(tmp_path / "tts", "kokoro")
    clips = {}
    for number in range(4):
        seconds = 1.0 + 0.1 * number
        time = np.arange(int(16_000 * seconds)) / 16_000
        clips[f"clip {number}"] = (0.3 * np.sin(2 * np.pi * (300 + 200 * number) * time)).astype(np.float32)
    for text, audio in clips.items():
        files.add(audio, "af_sky", text)
    files.flush()
    SpeechFiles(tmp_path / "tts", "kokoro").flush()  # nothing added, nothing written
    assert sorted(path.name for path in (tmp_path / "tts").glob("*.opus")) == ["kokoro-00.opus", "kokoro-01.opus"]

    out = tmp_path / "packed"
    out.mkdir()
    packer = Packer(out, EvaluationText(frozenset({"x"})))
    pack_synthetic(tmp_path / "tts", packer)
    packer.close()
    packed = Corpus(out, "train")
    assert len(packed) == 4
    for index, utterance in enumerate(packed.utterances):
        spoken = {"zero": 0, "one": 1, "two": 2, "three": 3}[utterance.text.removeprefix("clip ")]
        audio = clips[f"clip {spoken}"]
        assert utterance.samples == len(audio)
        assert np.corrcoef(packed.audio(index), audio)[0, 1] > 0.9


def test_held_out_voices_are_never_drawn(tmp_path, monkeypatch):
    names = ["af_nova", "af_sky", "bm_daniel", "bm_fable", "jf_alpha"]
    np.savez(tmp_path / "voices.npz", **{name: np.zeros((510, 1, 256), np.float32) for name in names})
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_: None)
    monkeypatch.setattr("kokoro_onnx.Kokoro.from_session", lambda *_: None)
    kokoro, random = Kokoro(tmp_path), np.random.default_rng(0)
    drawn = [kokoro.draw_voice(random) for _ in range(300)]
    assert not any("af_nova" in voice.name or "bm_daniel" in voice.name for voice in drawn)
    assert {voice.language for voice in drawn if voice.name.startswith("bm_fable")} == {"en-gb"}
    assert any("+jf_alpha" in voice.name for voice in drawn)
