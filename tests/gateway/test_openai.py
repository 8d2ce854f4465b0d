"""OpenAI's own client against the gateway."""

from __future__ import annotations

import httpx
import numpy as np
import openai
import pytest

from tests.conftest import CLIPS
from tests.gateway.conftest import running_gateway
from tests.gateway.test_decode import wav


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def recording(clips):
    return ("talk.flac", (CLIPS / f"{clips[1].name}.flac").read_bytes())


@pytest.fixture
def text(client, recording):
    return client.audio.transcriptions.create(file=recording, model="default").text


def test_models(client):
    assert [model.id for model in client.models.list()] == ["default"]
    assert client.models.retrieve("whisper-1").id == "default"
    with pytest.raises(openai.NotFoundError, match="allowed: default"):
        client.models.retrieve("gpt-9")


def test_json_and_text(client, recording, text):
    assert text
    answer = client.audio.transcriptions.create(file=recording, model="whisper-1", response_format="json")
    assert (answer.text, answer.usage.type) == (text, "duration")
    assert client.audio.transcriptions.create(file=recording, model="default", response_format="text") == f"{text}\n"


def test_verbose_json(client, recording, text, clips):
    create = client.audio.transcriptions.create
    answer = create(
        file=recording,
        model="default",
        language="en",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert (answer.text, answer.language) == (text, "en")
    assert answer.duration == pytest.approx(len(clips[1].audio) / 16000, abs=0.1)
    assert " ".join(word.word for word in answer.words) == text
    assert " ".join(segment.text for segment in answer.segments) == text
    assert answer.segments[0].start == answer.words[0].start < answer.words[0].end
    only_segments = create(file=recording, model="default", response_format="verbose_json")
    assert only_segments.words is None
    assert only_segments.segments


@pytest.mark.parametrize(("form", "beginning"), [("srt", "1\n00:00:"), ("vtt", "WEBVTT\n\n")])
def test_subtitles(client, recording, form, beginning):
    subtitles = client.audio.transcriptions.create(file=recording, model="default", response_format=form)
    assert subtitles.startswith(beginning)
    assert "-->" in subtitles


def test_streaming(client, clips):
    recording = ("talk.wav", wav(clips[0].audio))
    events = list(client.audio.transcriptions.create(file=recording, model="default", stream=True))
    assert [event.type for event in events] == ["transcript.text.delta"] * (len(events) - 1) + ["transcript.text.done"]
    assert len(events) > 2
    assert "".join(event.delta for event in events[:-1]) == events[-1].text


def test_a_streamed_recording_is_decoded_no_further_than_it_may_be_long_and_counts_as_a_stream(server, clips):
    recording = ("talk.wav", wav(np.tile(clips[0].audio, 3)))
    settings = {"gateway_max_audio_secs": 8.0, "gateway_max_streams": 1}
    with (
        running_gateway(server.grpc_endpoint, **settings) as gateway,
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client,
    ):
        events = client.audio.transcriptions.create(file=recording, model="default", stream=True)
        assert next(iter(events)).type == "transcript.text.delta"
        with pytest.raises(openai.InternalServerError, match="1 streams are being served, which is the limit"):
            client.audio.transcriptions.create(file=recording, model="default", stream=True)
        with pytest.raises(openai.APIError, match=r"talk.wav is longer than 8 s, the longest recording allowed"):
            list(events)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"response_format": "srt", "stream": True}, openai.BadRequestError, "response_format is 'srt'"),
        ({"response_format": "xml"}, openai.UnprocessableEntityError, "response_format is"),
        ({"model": "nonsense"}, openai.NotFoundError, "model is 'nonsense'"),
        ({"file": ("talk.txt", b"no audio")}, openai.BadRequestError, "talk.txt: cannot be decoded"),
    ],
)
def test_what_is_wrong_is_said(client, recording, given, kind, message):
    with pytest.raises(kind, match=message):
        client.audio.transcriptions.create(**{"file": recording, "model": "default", **given})


def test_fields_that_openai_does_not_have(gateway, recording):
    answer = httpx.post(
        f"{gateway.url}/v1/audio/transcriptions",
        files={"file": recording},
        data={"model": "default", "beam_size": "50"},
    )
    assert answer.status_code == 400
    assert "beam_size is 50; allowed" in answer.json()["error"]["message"]


def test_a_form_without_a_file(gateway):
    answer = httpx.post(f"{gateway.url}/v1/audio/transcriptions", data={"model": "default"})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "body.file"
