"""Streaming log-mel equals that of the whole utterance, however it is cut; bad audio is named."""

from __future__ import annotations

import importlib.util
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.parameters import ModelConfig
from loadtest.raw_pipeline import read_config
from log_mel.audio import check_audio, check_checksum, check_length, check_sample_rate
from log_mel.front_end import Chunk
from log_mel.mel import LogMel
from log_mel.opening import open_streaming
from log_mel.streaming import StreamingLogMel, WindowGeometry

REPOSITORY = Path(__file__).resolve().parents[2] / "model-repo"
RNG = np.random.default_rng(0)
MEL = LogMel(
    filterbank=np.abs(RNG.standard_normal((8, 257))).astype(np.float32),
    window=np.hanning(400).astype(np.float32),
    n_fft=512,
    hop_samples=160,
    preemphasis=0.97,
    log_guard=2.0**-24,
)
GEOMETRY = WindowGeometry(
    chunk_samples=8960,
    chunk_frames=56,
    first_chunk_frames=49,
    context_frames=9,
    left_pad_frames=16,
    window_frames=65,
    final_window_frames=72,
)


def stream(audio):
    """Windows of a whole waveform sent in chunks, and the frames that are new in each."""
    streaming = StreamingLogMel(MEL, GEOMETRY)
    state = streaming.new_state()
    windows, new = [], []
    for start in range(0, max(len(audio), 1), GEOMETRY.chunk_samples):
        chunk = audio[start : start + GEOMETRY.chunk_samples]
        end = start + GEOMETRY.chunk_samples >= len(audio)
        (window,) = streaming.windows([Chunk(state, chunk, end)])
        repeated = GEOMETRY.context_frames if windows else GEOMETRY.left_pad_frames
        windows.append(window)
        new.append(window.features[repeated : window.length])
    return windows, new


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5 * 8960))
def test_streaming_frames_are_the_utterance_frames(samples):
    audio = RNG.uniform(-1, 1, samples).astype(np.float32)
    windows, new = stream(audio)
    np.testing.assert_allclose(np.concatenate(new), MEL.utterance(audio), atol=1e-5)
    assert all(len(window.features) == GEOMETRY.window_frames for window in windows[:-1])


@pytest.mark.parametrize("samples", [0, 1, 159, 8960, 8961, 2 * 8960, 2 * 8960 + 7840, 2 * 8960 + 7841])
def test_lengths_around_the_edges_lose_no_frame(samples):
    _, new = stream(np.full(samples, 0.1, np.float32))
    assert sum(map(len, new)) == samples // 160


def test_every_later_window_repeats_the_frames_before_it():
    windows, new = stream(RNG.uniform(-1, 1, 4 * 8960).astype(np.float32))
    for before, window in zip(new, windows[1:], strict=False):
        np.testing.assert_array_equal(window.features[:9], before[-9:])


def test_the_first_window_is_padded_on_the_left():
    windows, _ = stream(RNG.uniform(-1, 1, 2 * 8960).astype(np.float32))
    assert not windows[0].features[:16].any()
    assert windows[0].length == 65


def test_frames_equal_a_plain_transform_of_the_definition():
    audio = RNG.uniform(-1, 1, 1000).astype(np.float32)
    emphasised = np.append(audio[0], audio[1:] - np.float32(0.97) * audio[:-1])
    padded = np.pad(emphasised.astype(np.float64), 256)
    window = np.pad(MEL.window.astype(np.float64), 56)
    expected = [
        np.log(MEL.filterbank.astype(np.float64) @ np.abs(np.fft.rfft(padded[s : s + 512] * window)) ** 2 + 2.0**-24)
        for s in range(0, 6 * 160, 160)
    ]
    np.testing.assert_allclose(MEL.utterance(audio), expected, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 8959, 8961])
def test_chunks_before_the_end_must_be_whole(samples):
    with pytest.raises(ValueError, match=rf"AUDIO has {samples} samples.*exactly 8960"):
        check_length(samples, GEOMETRY.chunk_samples, end=False)


def test_the_last_chunk_must_not_be_longer():
    with pytest.raises(ValueError, match=r"AUDIO has 8961 samples.*0 to 8960"):
        check_length(8961, GEOMETRY.chunk_samples, end=True)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.array([[0.0, np.nan]], np.float32), r"AUDIO\[1\] is nan"),
        (np.array([[-np.inf, 0.0]], np.float32), r"AUDIO\[0\] is -inf"),
        (np.array([[0.0, 12000.0]], np.float32), "peak of 12000.*divide 16-bit PCM by 32768"),
        (np.zeros((2, 10), np.float32), r"shape \[2, 10\]"),
    ],
)
def test_bad_audio_is_named(audio, message):
    with pytest.raises(ValueError, match=message):
        check_audio(audio)


def test_slight_overshoot_is_audio():
    assert len(check_audio(np.array([[1.02, -1.1]], np.float32))) == 2


def test_a_bit_that_was_turned_over_is_noticed():
    audio = np.linspace(-0.5, 0.5, 8960, dtype=np.float32)[None]
    check_checksum({}, audio)
    check_checksum({"audio_crc32": zlib.crc32(audio)}, audio)
    check_checksum({"audio_crc32": str(zlib.crc32(audio))}, audio)
    damaged = audio.copy()
    damaged.view(np.uint32)[0, 1234] ^= 1
    with pytest.raises(ValueError, match="AUDIO arrived damaged: its CRC-32 is not what parameter audio_crc32 says"):
        check_checksum({"audio_crc32": zlib.crc32(audio)}, damaged)


def test_another_sample_rate_is_refused():
    check_sample_rate({}, 16000)
    check_sample_rate({"sample_rate": 16000}, 16000)
    with pytest.raises(ValueError, match="sample_rate is 8000; this model takes 16000 Hz"):
        check_sample_rate({"sample_rate": 8000}, 16000)


def test_contradicting_geometry_is_refused():
    with pytest.raises(ValueError, match="window_frames"):
        WindowGeometry(8960, 56, 49, 9, 15, 65, 72)


@pytest.mark.skipif(bool(importlib.util.find_spec("torch")), reason="torch is installed")
def test_torch_that_is_not_installed_is_named():
    config = read_config(REPOSITORY / "preprocessor")
    config.raw["parameters"]["execution"] = {"string_value": "torch:cpu"}
    with pytest.raises(RuntimeError, match=r"features_execution torch:cpu needs .*pip install 'amira-asr\[torch\]'"):
        open_streaming(ModelConfig(json.dumps(config.raw)), REPOSITORY / "preprocessor" / "1", kaldi=False)
