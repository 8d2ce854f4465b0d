"""Comparison of outputs, and the notes of training runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from scripts.release.expected import (
    TOLERANCE,
    ClipFloats,
    ClipLabels,
    Labels,
    float_differences,
    label_differences,
    load_labels,
    save_labels,
)
from scripts.release.training_runs import RUNS, read_runs, record_run

CLIP = ClipLabels(streaming=Labels([5, 7, 9], [1, 1, 4]), batch=Labels([5], [0]))


def test_labels_survive_the_file(tmp_path):
    save_labels(tmp_path / "labels.json", {"a.flac": CLIP, "b.flac": CLIP})
    assert load_labels(tmp_path / "labels.json") == {"a.flac": CLIP, "b.flac": CLIP}


def test_a_token_and_a_frame_that_differ_are_found():
    token = dataclasses.replace(CLIP, streaming=Labels([5, 8, 9], [1, 1, 4]))
    frame = dataclasses.replace(CLIP, batch=Labels([5], [1]))
    assert label_differences({"a": CLIP}, {"a": CLIP}) == []
    assert label_differences({"a": CLIP}, {"a": token}) == [
        "a, streaming: 3 tokens, expected 3; the first 1 agree in id and frame"
    ]
    assert label_differences({"a": CLIP}, {"a": frame}) == [
        "a, batch: 1 tokens, expected 1; the first 0 agree in id and frame"
    ]
    assert label_differences({"a": CLIP}, {"b": CLIP}) == ["a: not among both", "b: not among both"]


@pytest.mark.parametrize(("by", "differs"), [(TOLERANCE / 2, False), (TOLERANCE * 2, True), (np.nan, True)])
def test_floats_are_compared_within_the_tolerance(by, differs):
    array = np.zeros((3, 2), np.float32)
    floats = ClipFloats(array, array, array[0], array[0])
    other = dataclasses.replace(floats, batch=array + np.float32(by))
    assert bool(float_differences({"a": floats}, {"a": other})) == differs


def test_other_shapes_differ():
    array = np.zeros((3, 2), np.float32)
    floats = ClipFloats(array, array, array[0], array[0])
    other = dataclasses.replace(floats, streaming=array[:2])
    assert float_differences({"a": floats}, {"a": other}) == ["a, streaming: shape (2, 2), expected (3, 2)"]


def test_every_start_of_a_training_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train", "--minutes", "3"])
    assert read_runs(tmp_path / RUNS) == []
    record_run(tmp_path)
    record_run(tmp_path)
    first, second = read_runs(tmp_path / RUNS)
    assert first.command.endswith(" --minutes 3")
    assert first.date <= second.date
    assert first.revision
