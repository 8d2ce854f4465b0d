"""The detector and the segments equal those of Silero's own package (tests/goldens/vad.json)."""

from __future__ import annotations

import hashlib
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amira_asr.audio import load_audio
from amira_asr.speech import speech_probabilities
from common.speech_detector import WINDOW_SAMPLES, DetectorState, SpeechDetector
from scripts.vad.goldens import GOLDENS, OPTIONS, recording
from scripts.vad.install import SHA256, WrongFileError, install
from silero_vad.segments import SegmentOptions, speech_segments
from tests.conftest import ROOT

AUDIO = recording(load_audio)
EXPECTED = json.loads(GOLDENS.read_text())


@pytest.fixture(scope="module")
def detector():
    return SpeechDetector(ROOT / "model-repo" / "vad" / "1" / "model.onnx")


@pytest.fixture(scope="module")
def probabilities(detector):
    return detector.listen([DetectorState()], [AUDIO], [True])[0]


def test_probabilities_are_those_of_silero(probabilities):
    np.testing.assert_allclose(probabilities, EXPECTED["probabilities"], atol=1e-5)
    assert probabilities.max() > 0.95
    assert probabilities.min() < 0.05


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 40_000), max_size=6), st.integers(0, 3))
def test_any_cut_into_pieces_and_any_company_gives_the_same(detector, probabilities, sizes, others):
    pieces = np.split(AUDIO, [edge for edge in np.cumsum(sizes) if edge < len(AUDIO)])
    noise = [np.random.default_rng(n).uniform(-0.1, 0.1, 700 * (n + 1)).astype(np.float32) for n in range(others)]
    states = [DetectorState() for _ in range(others + 1)]
    heard = []
    for index, piece in enumerate(pieces):
        end = index == len(pieces) - 1
        heard.append(detector.listen(states, [*noise, piece], [False] * others + [end])[-1])
    np.testing.assert_allclose(np.concatenate(heard), probabilities, atol=1e-5)


@pytest.mark.parametrize(("samples", "windows"), [(0, 0), (1, 1), (512, 1), (513, 2)])
def test_the_last_window_is_filled_up(detector, samples, windows):
    assert len(detector.listen([DetectorState()], [AUDIO[:samples]], [True])[0]) == windows
    assert len(detector.listen([DetectorState()], [AUDIO[:samples]], [False])[0]) == samples // WINDOW_SAMPLES


def test_the_client_hears_the_same(probabilities):
    heard = speech_probabilities(AUDIO)
    assert len(heard) == len(AUDIO) // WINDOW_SAMPLES
    np.testing.assert_allclose(heard, probabilities[: len(heard)], atol=1e-5)


@pytest.mark.parametrize("case", EXPECTED["segments"], ids=lambda case: json.dumps(case["options"]))
def test_segments_are_those_of_silero(case):
    probabilities = np.array(EXPECTED["probabilities"], np.float32)
    found = speech_segments(probabilities, len(AUDIO), SegmentOptions.requested(case["options"]))
    assert [list(segment) for segment in found] == case["segments"]


def test_the_goldens_tell_every_option_apart():
    segments = [json.dumps(case["segments"]) for case in EXPECTED["segments"]]
    assert len(segments) == len(OPTIONS)
    assert len(set(segments)) == len(OPTIONS) - 1  # the clips have no pause between 100 and 500 ms


@given(st.lists(st.floats(0, 1, width=32), max_size=60), st.integers(0, 2000), st.integers(0, 2000))
def test_segments_are_in_order_and_inside(values, silence, pad):
    samples = len(values) * WINDOW_SAMPLES
    options = SegmentOptions(min_silence_ms=silence, min_speech_ms=0, pad_ms=pad)
    edges = [edge for segment in speech_segments(np.array(values, np.float32), samples, options) for edge in segment]
    assert edges == sorted(edges)
    assert all(0 <= edge <= samples for edge in edges)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"threshold": 1.5}, r"parameter threshold is 1.5; allowed: a number from 0.01 to 0.99"),
        ({"threshold": True}, "parameter threshold is True; allowed: a number"),
        ({"min_silence_ms": "long"}, "parameter min_silence_ms is 'long'; allowed: a number from 0 to 60000"),
        ({"min_speech_ms": -1}, "parameter min_speech_ms is -1"),
        ({"pad_ms": "nan"}, "parameter pad_ms is 'nan'"),
    ],
)
def test_parameters_out_of_range_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        SegmentOptions.requested(parameters)


def test_numbers_may_be_text():
    assert SegmentOptions.requested({"threshold": "0.7", "pad_ms": 5}) == SegmentOptions(threshold=0.7, pad_ms=5)


def test_the_committed_graph_is_the_one_of_the_package():
    graph = ROOT / "model-repo" / "vad" / "1" / "model.onnx"
    assert hashlib.sha256(graph.read_bytes()).hexdigest() == SHA256
    assert "MIT License" in (ROOT / "model-repo" / "vad" / "LICENSE").read_text()


def test_install_takes_only_the_known_graph(tmp_path):
    graph = (ROOT / "model-repo" / "vad" / "1" / "model.onnx").read_bytes()

    def wheel(name, content):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("silero_vad-6.2.0.dist-info/licenses/LICENSE", "MIT License")
            if content is not None:
                archive.writestr("silero_vad/data/silero_vad_16k_op15.onnx", content)
        return path

    assert install(wheel("right.whl", graph), tmp_path / "repo").read_bytes() == graph
    assert "MIT License" in (tmp_path / "repo" / "vad" / "LICENSE").read_text()
    with pytest.raises(WrongFileError, match=r"has SHA-256 .*; expected 7ed98ddb"):
        install(wheel("changed.whl", graph[:-1]), tmp_path / "other")
    with pytest.raises(WrongFileError, match=r"empty.whl is not silero-vad 6.2.0"):
        install(wheel("empty.whl", None), tmp_path / "other")
    assert not (tmp_path / "other").exists()
