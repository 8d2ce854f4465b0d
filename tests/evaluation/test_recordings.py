"""Evaluation sets read from tables, with audio of known content."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from scripts.evaluation.recordings import read_held_out, read_real


def _write_ramp(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.arange(samples, dtype="<i2").tobytes())


def _index(folder, *rows):
    lines = ["file\tstart_sample\tsamples\tengine\tvoice\ttext", *("\t".join(map(str, row)) for row in rows)]
    (folder / "index.tsv").write_text("\n".join(lines) + "\n")


def test_real_recordings_have_their_subset_and_normalised_text(tmp_path):
    (tmp_path / "eval.tsv").write_text('path\ttext\nso762-1.wav\tHe said "at 3", twice\n')
    _write_ramp(tmp_path / "so762-1.wav", 1600)
    (utterance,) = read_real(tmp_path)
    assert (utterance.subset, utterance.reference) == ("so762", "he said at three twice")
    assert utterance.seconds == pytest.approx(0.1)
    assert not utterance.synthetic


def test_an_empty_reference_is_refused(tmp_path):
    (tmp_path / "eval.tsv").write_text("path\ttext\na-1.wav\t...\n")
    _write_ramp(tmp_path / "a-1.wav", 16)
    with pytest.raises(ValueError, match=r"'\.\.\.'"):
        read_real(tmp_path)


def test_only_held_out_voices_are_read_and_slices_are_exact(tmp_path):
    _write_ramp(tmp_path / "a.wav", 2000)
    _write_ramp(tmp_path / "b.wav", 900)
    _index(
        tmp_path,
        ("a.wav", 0, 500, "kokoro", "v", "not this"),
        ("a.wav", 500, 700, "kokhold", "v", "First"),
        ("a.wav", 1200, 800, "kokhold", "w", "Second"),
        ("b.wav", 100, 800, "kokhold", "w", "Third"),
    )
    utterances = read_held_out(tmp_path)
    assert [utterance.reference for utterance in utterances] == ["first", "second", "third"]
    assert all(utterance.synthetic and utterance.subset == "kokhold" for utterance in utterances)
    for utterance, start, samples in zip(utterances, (500, 1200, 100), (700, 800, 800), strict=True):
        np.testing.assert_array_equal(np.round(utterance.audio * 32768), np.arange(start, start + samples))


def test_a_slice_behind_the_end_is_refused(tmp_path):
    _write_ramp(tmp_path / "a.wav", 2000)
    _index(tmp_path, ("a.wav", 1900, 101, "kokhold", "v", "text"))
    with pytest.raises(ValueError, match=r"2001.*2000"):
        read_held_out(tmp_path)
