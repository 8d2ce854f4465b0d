"""The gate silences what is not speech, and never what is within 300 ms of it, however a stream is cut into chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.speech_detector import SpeechDetector
from log_mel.vad_gate import LOOK_AHEAD_SAMPLES, GateOptions, SpeechGate
from tests.conftest import ROOT

GRAPH = ROOT / "model-repo" / "vad" / "1" / "model.onnx"
KEPT_AT_LEAST = 4800  # 300 ms


class ScriptedDetector:
    """Hears what it is told to: one probability a window."""

    def __init__(self, probabilities):
        self.probabilities = probabilities
        self.samples = self.windows = 0

    def listen(self, states, pieces, ends):
        self.samples += len(pieces[0])
        until = -(-self.samples // 512) if ends[0] else self.samples // 512
        heard, self.windows = self.probabilities[self.windows : until], until
        return [np.array(heard, np.float32)]


def chunks_held_back(chunk_samples):
    return -(-LOOK_AHEAD_SAMPLES // chunk_samples)


def before(chunk_samples):
    """Whole windows of what is held back, without one that is not whole yet, in samples."""
    return (chunks_held_back(chunk_samples) * chunk_samples - 512) // 512 * 512


def new_gate(chunk_samples=8960, count=lambda *_: None, detector=None, graph=GRAPH):
    gate = SpeechGate(graph, chunk_samples, count)
    gate._detector = detector
    return gate


def gated(gate, audio, chunk_samples=8960, **parameters):
    """A whole waveform through the gate: nothing for the first chunks, then one chunk for each, all the rest at END."""
    held_back = chunks_held_back(chunk_samples)
    state = gate.requested({"vad_gate": True, **parameters})
    released = []
    for number, start in enumerate(range(0, max(len(audio), 1), chunk_samples)):
        end = start + chunk_samples >= len(audio)
        released += gate.apply([state], [audio[start : start + chunk_samples]], [end])
        if not end:
            assert len(released[-1]) == (chunk_samples if number >= held_back else 0)
    return np.concatenate(released)


def near(windows, samples, earlier, later):
    """Which of [samples] are in one of the windows, or so close to it."""
    kept = np.zeros(samples, bool)
    for window in windows:
        kept[max(0, window * 512 - earlier) : (window + 1) * 512 + later] = True
    return kept


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([0.01, 0.01, 0.01, 0.9]), min_size=1, max_size=120),
    st.integers(1, 512),
    st.integers(1, 20_000),
    st.integers(300, 1500),
)
def test_what_is_silenced_does_not_depend_on_the_chunks(probabilities, last, chunk_samples, hangover_ms):
    samples = (len(probabilities) - 1) * 512 + last
    audio = np.random.default_rng(0).uniform(0.1, 1, samples).astype(np.float32)
    gate = new_gate(chunk_samples, detector=ScriptedDetector(probabilities))
    released = gated(gate, audio, chunk_samples, vad_hangover_ms=hangover_ms)
    speech = [index for index, probability in enumerate(probabilities) if probability > 0.5]
    expected = np.where(near(speech, samples, before(chunk_samples), hangover_ms * 16), audio, 0)
    np.testing.assert_array_equal(released, expected)
    whole = near(speech, samples, KEPT_AT_LEAST, KEPT_AT_LEAST)
    np.testing.assert_array_equal(released[whole], audio[whole])


def test_speech_goes_on_until_it_is_clearly_over():
    audio = np.ones(512 * 100, np.float32)
    gate = new_gate(detector=ScriptedDetector([0.4] * 20 + [0.6] + [0.4] * 20 + [0.3] + [0.4] * 58))
    released = gated(gate, audio, vad_hangover_ms=300)
    kept = np.flatnonzero(released)
    assert kept[0] == 20 * 512 - 8192
    assert kept[-1] == 41 * 512 + 4800 - 1


@pytest.fixture(scope="module")
def counted():
    """A gate with the real detector, and what it counted."""
    totals = []
    return new_gate(count=lambda *counts: totals.append(counts)), totals


def test_noise_becomes_silence(counted):
    gate, totals = counted
    noise = np.random.default_rng(0).normal(0, 0.05, 16000 * 5).astype(np.float32)
    assert not gated(gate, noise).any()
    assert totals[-1][0] == 0
    assert sum(windows for _, windows in totals) == -(-len(noise) // 512)


def test_speech_in_noise_is_kept(counted, clips):
    gate, totals = counted
    noise = np.random.default_rng(0).normal(0, 0.003, 16000 * 2).astype(np.float32)
    audio = np.concatenate([noise, clips[1].audio, noise])
    released = gated(gate, audio)
    kept = np.flatnonzero(released)
    assert 32000 - 9600 < kept[0] < 32000 + 9600
    assert (released[kept[0] : kept[-1] + 1] == audio[kept[0] : kept[-1] + 1]).mean() > 0.95
    assert abs(kept[-1] - (len(audio) - 32000)) < 16000
    assert sum(speech for speech, _ in totals) > 0.8 * len(clips[1].audio) / 512


def test_streams_in_one_call_do_not_mix(counted, clips):
    gate, _ = counted
    waveforms = [clip.audio[:35840] for clip in clips]
    expected = [gated(gate, audio) for audio in waveforms]
    states = [gate.requested({"vad_gate": True}) for _ in waveforms]
    released = []
    for start in range(0, 35840, 8960):
        chunks = [audio[start : start + 8960] for audio in waveforms]
        released.append(gate.apply(states, chunks, [start == 26880] * len(states)))
    for index, whole in enumerate(expected):
        np.testing.assert_array_equal(np.concatenate([chunks[index] for chunks in released]), whole)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"vad_gate": "maybe"}, "parameter vad_gate is 'maybe'; allowed: true or false"),
        ({"vad_gate": 1}, "parameter vad_gate is 1; allowed: true or false"),
        ({"vad_threshold": 0}, "parameter vad_threshold is 0; allowed: a number from 0.01 to 0.99"),
        ({"vad_hangover_ms": 299}, "parameter vad_hangover_ms is 299; allowed: a number from 300 to 10000"),
        ({"vad_gat": True}, "unknown parameter vad_gat; allowed: vad_gate, vad_threshold, vad_hangover_ms"),
    ],
)
def test_wrong_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        GateOptions.requested(parameters)


def test_misplaced_parameters_are_refused():
    GateOptions.refuse({"finalize": True}, "comes too late")
    with pytest.raises(ValueError, match="parameter vad_gate comes too late"):
        GateOptions.refuse({"vad_gate": True}, "comes too late")


def test_the_detector_is_loaded_when_it_is_first_asked_for(monkeypatch, tmp_path):
    loaded = []
    monkeypatch.setattr("log_mel.vad_gate.SpeechDetector", lambda path: loaded.append(path) or SpeechDetector(path))
    gate = new_gate()
    assert gate.requested({}) is None
    assert gate.requested({"vad_gate": "false"}) is None
    assert not loaded
    assert gate.requested({"vad_gate": True}) is not None
    assert gate.requested({"vad_gate": "true"}) is not None
    assert len(loaded) == 1
    with pytest.raises(ValueError, match="parameter vad_gate is true, but this server has no detector"):
        new_gate(graph=tmp_path / "none.onnx").requested({"vad_gate": True})
