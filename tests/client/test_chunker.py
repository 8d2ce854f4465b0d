"""Chunks have the exact size, and hold the samples that came in."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amira_asr.chunker import Chunker
from amira_asr.errors import InvalidAudio

SIZE = 100


def run(buffers, sample_rate=16000, sample_format="s16le", channels=1):
    chunker = Chunker(SIZE, 16000, sample_rate=sample_rate, sample_format=sample_format, channels=channels)
    chunks = [chunk for buffer in buffers for chunk in chunker.push(buffer)]
    return chunks + chunker.finish()


def check_sizes(chunks):
    assert all(len(chunk) == SIZE for chunk in chunks[:-1])
    assert len(chunks[-1]) < SIZE
    assert all(chunk.dtype == np.float32 for chunk in chunks)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 450), max_size=8), st.integers(0, 5))
def test_bytes_cut_anywhere(sizes, seed):
    data = np.random.default_rng(seed).integers(0, 256, sum(sizes), np.uint8).tobytes()
    edges = np.cumsum([0, *sizes])
    chunks = run([data[a:b] for a, b in itertools.pairwise(edges)])
    check_sizes(chunks)
    expected = np.frombuffer(data[: len(data) // 2 * 2], "<i2") / 32768
    np.testing.assert_allclose(np.concatenate(chunks), expected, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 450), min_size=1, max_size=8), st.sampled_from([np.float32, np.float64, np.int16]))
def test_arrays(sizes, dtype):
    samples = np.linspace(-0.9, 0.9, sum(sizes))
    arrays = samples.astype(dtype) if dtype != np.int16 else (samples * 32768).astype(np.int16)
    chunks = run(np.split(arrays, np.cumsum(sizes)[:-1]))
    check_sizes(chunks)
    np.testing.assert_allclose(np.concatenate(chunks), samples, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 900), max_size=8), st.integers(1, 6), st.sampled_from(["s16le", "f32le"]))
def test_interleaved_channels_are_averaged(sizes, channels, sample_format):
    dtype = {"s16le": "<i2", "f32le": "<f4"}[sample_format]
    scale = {"s16le": 32768, "f32le": 1}[sample_format]
    frames = np.random.default_rng(0).uniform(-0.9, 0.9, (1000, channels))
    data = (frames * scale).astype(dtype).tobytes()
    edges = np.minimum(np.cumsum([0, *sizes]), len(data))
    chunks = run([data[a:b] for a, b in itertools.pairwise(edges)], sample_format=sample_format, channels=channels)
    check_sizes(chunks)
    whole = edges[-1] // (np.dtype(dtype).itemsize * channels)
    np.testing.assert_allclose(np.concatenate(chunks), frames[:whole].mean(axis=1), atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_are_resampled_without_losing_the_end(rate):
    tone = np.sin(2 * np.pi * 200 * np.arange(rate) / rate).astype(np.float32)
    chunks = run(np.array_split(tone, 37), sample_rate=rate)
    check_sizes(chunks)
    audio = np.concatenate(chunks)
    assert len(audio) == pytest.approx(16000, abs=2)
    expected = np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)
    np.testing.assert_allclose(audio[500:15500], expected[500:15500], atol=0.01)


def test_nothing_gives_one_empty_chunk():
    chunks = run([])
    assert [len(chunk) for chunk in chunks] == [0]


@pytest.mark.parametrize(
    "bad", [np.zeros((5, 2), np.float32), np.zeros(5, np.uint8), np.zeros(5, bool), np.array([0, 30000, -30000])]
)
def test_wrong_arrays_are_refused(bad):
    with pytest.raises(InvalidAudio, match="an audio array has shape"):
        run([bad])


@pytest.mark.parametrize("bad", ["text", 5, None, [1.0, 2.0]])
def test_what_is_no_buffer_is_refused(bad):
    with pytest.raises(InvalidAudio, match=f"an audio buffer is of type {type(bad).__name__}; allowed: bytes, arrays"):
        run([bad])


def test_wrong_rates_and_formats_are_refused():
    with pytest.raises(InvalidAudio, match="channels is 0; allowed: 1 to 64"):
        Chunker(SIZE, 16000, sample_rate=16000, channels=0)
    with pytest.raises(InvalidAudio, match="an audio array has 5 samples; allowed: multiples of its 2 channels"):
        run([np.zeros(5, np.float32)], channels=2)
    with pytest.raises(InvalidAudio, match="sample_rate is 10; allowed: 1000 to 768000"):
        Chunker(SIZE, 16000, sample_rate=10)
    with pytest.raises(InvalidAudio, match="sample_format is 'u8'; allowed: s16le, f32le"):
        Chunker(SIZE, 16000, sample_rate=16000, sample_format="u8")
