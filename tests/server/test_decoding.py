"""Decoding options through the whole server: chosen per stream, mixed in one batch, streaming equal to batch."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from amira_asr import (
    FINALIZE,
    AsrClient,
    AsyncAsrClient,
    DecodingOptions,
    Final,
    InvalidRequest,
    Settings,
)
from tests.server.streams import Streams, audio_input, chunks_of, new_id

SILENCE = np.zeros(2 * 16000, np.float32)
OPTIONS = [
    DecodingOptions(),
    DecodingOptions(beam_size=4, n_best=4),
    DecodingOptions(beam_size=2),
    DecodingOptions(phrases=["captain", "the captain", "yankee"]),
    DecodingOptions(beam_size=3, phrases={"passengers": 2.5}),
    DecodingOptions(endpointing=True, endpoint_silence_ms=400),
    DecodingOptions(beam_size=4, endpointing=True, endpoint_silence_ms=400, endpoint_length_ms=4000),
]


@pytest.fixture(scope="module")
def settings(server):
    return Settings(triton_endpoint=server.grpc_endpoint)


@pytest.fixture(scope="module")
def client(settings):
    with AsrClient(settings) as client:
        yield client


@pytest.fixture(scope="module")
def pauses(clips):
    """All clips with two seconds of silence between them."""
    return np.concatenate([piece for clip in clips for piece in (clip.audio, SILENCE)])


def said(transcript):
    return [(token.id, round(token.time_secs, 3)) for token in transcript.tokens], transcript.text


@pytest.mark.parametrize("options", OPTIONS)
def test_streaming_equals_batch(client, clips, options):
    audio = clips[0].audio
    *_, streamed = client.stream([audio], options=options)
    whole = client.transcribe(audio, options=options)
    assert said(streamed) == said(whole)
    assert [one.text for one in streamed.alternatives] == [one.text for one in whole.alternatives]


def test_streams_with_different_options_share_the_server(settings, clips):
    async def main():
        async with AsyncAsrClient(settings) as client:

            async def one(options):
                events = [event async for event in client.stream([clips[1].audio], options=options)]
                return said(events[-1])

            alone = [await one(options) for options in OPTIONS]
            return alone, await asyncio.gather(*map(one, OPTIONS * 3))

    alone, together = asyncio.run(main())
    assert together == alone * 3


def test_alternatives_are_sorted_and_different(client, clips):
    final = client.transcribe(clips[0].audio, options=DecodingOptions(beam_size=4, n_best=3))
    assert len(final.alternatives) == 3
    assert final.alternatives[0].text == final.text
    scores = [one.score for one in final.alternatives]
    assert scores == sorted(scores, reverse=True)
    assert len({one.text for one in final.alternatives}) == 3


def test_a_phrase_is_heard_where_it_is_said(client, clips):
    clip = clips[0]
    plain = client.transcribe(clip.audio).text.split()
    wanted = clip.text.lower().split()
    missing = [word for word in wanted if word not in plain and len(word) > 4]
    boosted = client.transcribe(clip.audio, options=DecodingOptions(phrases=dict.fromkeys(wanted, 2.0))).text.split()
    assert sum(word in boosted for word in missing) > 0, "the clip's own words, as phrases, do not help"


@pytest.mark.parametrize("beam_size", [1, 3])
def test_silence_ends_segments_and_the_stream_goes_on(client, clips, pauses, beam_size):
    options = DecodingOptions(endpointing=True, endpoint_silence_ms=1200, endpoint_length_ms=0, beam_size=beam_size)
    events = list(client.stream(chunks_of(pauses), options=options))
    segments = [segment for event in events for segment in event.segments]
    assert [segment.rule for segment in segments] == ["silence"] * (len(segments) - 1) + ["end"]
    assert len([segment for segment in segments if segment.text]) == len(clips)
    assert " ".join(segment.text for segment in segments if segment.text) == events[-1].text
    bounds = [moment for one in segments if one.text for moment in (one.start_secs, one.end_secs)]
    assert bounds == sorted(bounds)
    for event in events:
        words = event.text.split()
        assert events[-1].text.split()[: event.stable_words] == words[: event.stable_words]
    # A segment is recognised as if it were a stream of its own that began there.
    plain = [client.transcribe(clip.audio, options=DecodingOptions(beam_size=beam_size)).text for clip in clips]
    assert segments[0].text == plain[0]


def test_finalize_ends_the_segment_at_once(client, clips):
    pieces = chunks_of(np.concatenate([clips[0].audio, clips[1].audio]))
    middle = len(chunks_of(clips[0].audio))
    events = list(client.stream([*pieces[: middle - 1], FINALIZE, *pieces[middle - 1 :]]))
    ended = [(number, segment.rule) for number, event in enumerate(events) for segment in event.segments]
    assert ended == [(middle - 1, "finalize"), (len(pieces) - 1, "end")]
    assert isinstance(events[-1], Final)
    assert events[-1].text.startswith(events[middle - 1].text)


def test_partials_of_a_beam_change_only_behind_what_is_stable(client, clips):
    before: list[str] = []
    for event in client.stream(chunks_of(clips[0].audio), options=DecodingOptions(beam_size=8)):
        words = event.text.split()
        assert words[: len(before)] == before
        before = words[: event.stable_words]
    assert len(before) == len(words)


def test_words_and_confidences_agree_with_tokens(server, clips):
    streams = Streams(server.grpc_endpoint)
    result = streams.client.infer("asr_batch", audio_input(clips[0].audio))
    words = [word.decode() for word in result.as_numpy("WORDS")[0]]
    assert " ".join(words) == result.as_numpy("TRANSCRIPT")[0][0].decode()
    times = result.as_numpy("WORD_TIMES")[0]
    assert times.shape == (len(words), 2)
    assert np.all(times[:, 0] < times[:, 1])
    assert np.all(np.diff(times[:, 0]) >= 0)
    confidences, tokens = result.as_numpy("WORD_CONFIDENCES")[0], result.as_numpy("TOKEN_CONFIDENCES")[0]
    assert np.all((tokens > 0) & (tokens <= 1))
    assert confidences.min() == tokens.min()
    assert len(confidences) == len(words)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"beam_size": 100}, "beam_size is 100; allowed: whole numbers 1 to 16"),
        ({"phrases": json.dumps(["漢字"])}, "'漢字' cannot be written"),
        ({"lm_weight": "0.5"}, "this model has no language model"),
        ({"beam": 3}, "unknown parameter 'beam'"),
    ],
)
def test_a_wrong_parameter_fails_its_stream_alone(server, clips, parameters, message):
    streams = Streams(server.grpc_endpoint)
    good, bad = new_id(), new_id()
    pieces = chunks_of(clips[0].audio)
    streams.send(good, pieces[0], start=True)
    with pytest.raises(Exception, match=message):
        streams.send(bad, pieces[0], start=True, parameters=parameters)
    assert streams.send(bad, pieces[0], end=True).text == ""
    for piece in pieces[1:-1]:
        streams.send(good, piece)
    assert streams.send(good, pieces[-1], end=True).tokens == streams.stream(clips[0].audio)[-1].tokens


def test_the_client_says_what_is_wrong(client, clips):
    with pytest.raises(InvalidRequest, match="n_best is 5; allowed: whole numbers 1 to 2"):
        client.transcribe(clips[0].audio, options=DecodingOptions(beam_size=2, n_best=5))
    with pytest.raises(InvalidRequest, match="endpoint_silence_ms is 1"):
        list(client.stream([clips[0].audio], options=DecodingOptions(endpoint_silence_ms=1)))
