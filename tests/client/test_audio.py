"""Decoding of every format, rate and number of channels."""

from __future__ import annotations

import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from amira_asr.audio import decode_stream, load_audio
from amira_asr.errors import InvalidAudio

FORMATS = [
    ("wav", "pcm_s16le", 44100),
    ("flac", "flac", 22050),
    ("ogg", "libopus", 16000),
    ("opus", "libopus", 48000),
    ("mp3", "libmp3lame", 44100),
    ("m4a", "aac", 48000),
]


def tone(rate, secs=1.0):
    """A 440 Hz tone at half amplitude, [samples] float32."""
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * secs)) / rate)).astype(np.float32)


def encode(path, codec, rate, channels):
    """Write a tone, the same on every channel, in a format."""
    layout = {1: "mono", 2: "stereo"}[channels]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        samples = np.repeat(tone(rate)[None], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        fifo = av.AudioFifo()
        fifo.write(av.AudioResampler(stream.format.name, layout, rate).resample(frame)[0])
        while part := fifo.read(stream.frame_size or 1024, partial=True):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(("extension", "codec", "rate"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_becomes_the_same_mono_audio(tmp_path, extension, codec, rate, channels):
    path = tmp_path / f"tone.{extension}"
    encode(path, codec, rate, channels)
    audio = load_audio(path)
    assert audio.dtype == np.float32
    assert len(audio) == pytest.approx(16000, abs=1600)  # lossy formats pad
    middle = audio[4000:12000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * 16000 / len(middle) == pytest.approx(440, abs=4)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.06)


def test_open_files_and_pieces(tmp_path):
    path = tmp_path / "tone.flac"
    encode(path, "flac", 44100, 2)
    with path.open("rb") as file:
        pieces = list(decode_stream(file))
    assert len(pieces) > 5
    np.testing.assert_array_equal(np.concatenate(pieces), load_audio(path))


def test_channels_that_cancel_are_silence(tmp_path):
    path = tmp_path / "opposite.wav"
    stereo = np.stack([tone(16000), -tone(16000)])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(stereo), format="fltp", layout="stereo")
        frame.sample_rate = 16000
        for converted in av.AudioResampler("s16", "stereo", 16000).resample(frame):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    assert np.abs(load_audio(path)).max() < 1e-3


def test_bundled_recordings_decode_exactly(clips):
    assert len(clips[0].audio) == 113600
    assert 0.1 < np.abs(clips[0].audio).max() <= 1.0


def test_bad_files_are_named(tmp_path):
    text = tmp_path / "notes.wav"
    text.write_text("this is no audio at all" * 50)
    with pytest.raises(InvalidAudio, match=r"notes.wav"):
        load_audio(text)
    with pytest.raises(InvalidAudio, match=r"gone.wav: no such file"):
        load_audio(tmp_path / "gone.wav")
    empty = tmp_path / "empty.flac"
    empty.write_bytes(b"")
    with pytest.raises(InvalidAudio, match=r"empty.flac"):
        load_audio(empty)
    silent = tmp_path / "silent.wav"
    with wave.open(str(silent), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
    with pytest.raises(InvalidAudio, match=r"silent.wav: the file holds no audio samples"):
        load_audio(silent)
    whole = tmp_path / "whole.flac"
    encode(whole, "flac", 44100, 1)
    damaged = tmp_path / "damaged.flac"
    damaged.write_bytes(bytes(255 - byte if n > 200 else byte for n, byte in enumerate(whole.read_bytes())))
    with pytest.raises(InvalidAudio, match=r"damaged.flac"):
        load_audio(damaged)


def test_a_rate_that_would_make_gigabytes_of_a_small_file_is_refused(tmp_path):
    path = tmp_path / "slow.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((8, 2, 10, 0, "NONE", ""))
        file.writeframes(bytes(64_000))
    with pytest.raises(InvalidAudio, match=r"slow.wav: the sample rate is 10 Hz; allowed: 1000 to 768000"):
        load_audio(path)
