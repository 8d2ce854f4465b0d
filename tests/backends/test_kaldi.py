"""Windows of kaldi features: the same however the audio is cut, as many as sherpa-onnx takes."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from log_mel.front_end import Chunk
from log_mel.kaldi import KaldiFrontEnd

RNG = np.random.default_rng(0)
FRONT_END = KaldiFrontEnd(sample_rate=16000, n_mels=80, window_frames=45, chunk_frames=32, tail_padding_samples=10560)
CHUNK = 32 * 160


def stream(audio):
    """The runs of frames that each chunk of a waveform yields."""
    state = FRONT_END.new_state()
    starts = range(0, max(len(audio), 1), CHUNK)
    chunks = [Chunk(state, audio[start : start + CHUNK], start + CHUNK >= len(audio)) for start in starts]
    return [FRONT_END.windows([chunk])[0] for chunk in chunks]


def frames_of(audio):
    """Every frame of the waveform and its tail, by the package itself."""
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = 80
    options.mel_opts.high_freq = -400
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(16000, [*audio.tolist(), *[0.0] * 10560])
    fbank.input_finished()
    return np.stack([fbank.get_frame(index) for index in range(fbank.num_frames_ready)])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 6 * CHUNK))
def test_windows_follow_each_other_through_all_frames(samples):
    audio = RNG.uniform(-1, 1, samples).astype(np.float32)
    expected = frames_of(audio)
    start = 0
    for window in stream(audio):
        assert window.length == len(window.features)
        if window.length:
            assert (window.length - 45) % 32 == 0
            np.testing.assert_array_equal(window.features, expected[start : start + window.length])
            start += window.length - 13
    # sherpa-onnx stops when no frame is left beyond the window.
    assert start + 45 >= len(expected) > start + 13


def test_the_first_chunk_has_no_window_and_later_ones_have_one():
    lengths = [window.length for window in stream(RNG.uniform(-1, 1, 5 * CHUNK).astype(np.float32))]
    assert lengths[:-1] == [0, 45, 45, 45]
    assert lengths[-1] == 45 + 2 * 32


def test_an_utterance_has_the_frames_of_its_stream():
    audio = RNG.uniform(-1, 1, 4 * CHUNK + 777).astype(np.float32)
    _, first, *rest = stream(audio)
    joined = np.concatenate([first.features, *(window.features[13:] for window in rest)])
    np.testing.assert_array_equal(FRONT_END.utterance(audio), joined)


def test_streams_do_not_mix():
    one, other = (RNG.uniform(-1, 1, 2 * CHUNK).astype(np.float32) for _ in range(2))
    states = [FRONT_END.new_state() for _ in range(2)]
    FRONT_END.windows([Chunk(states[0], one[:CHUNK], end=False), Chunk(states[1], other[:CHUNK], end=False)])
    windows = FRONT_END.windows([Chunk(states[0], one[CHUNK:], end=True), Chunk(states[1], other[CHUNK:], end=True)])
    for audio, window in zip((one, other), windows, strict=True):
        np.testing.assert_array_equal(window.features, frames_of(audio)[: window.length])


@pytest.mark.parametrize("samples", [0, 1, 159])
def test_hardly_any_audio_is_padded_to_one_window(samples):
    (window,) = stream(np.zeros(samples, np.float32))
    assert window.length == 45


def test_the_empty_window_has_no_frames():
    assert FRONT_END.empty_window().features.shape == (0, 80)
