"""`POST /v2/decode/batch/{model}` against a real Triton."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from tritonclient import grpc

from amira_asr import AsrClient, Settings
from amira_gateway.recognisers import Frames
from tests.conftest import CLIPS
from tests.gateway.conftest import pcm

URL = "/v2/decode/batch/asr_batch"


def wav(audio, rate=16000):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(pcm(audio))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def expected(server, clips):
    """What the client library hears in the second clip, as 16-bit samples."""
    with AsrClient(Settings(triton_endpoint=server.grpc_endpoint)) as client:
        return client.transcribe(pcm(clips[1].audio))


def test_every_form_of_a_recording_gives_the_same(http, clips, expected):
    audio = clips[1].audio
    flac = (CLIPS / f"{clips[1].name}.flac").read_bytes()
    answers = [
        http.post(URL, content=pcm(audio)),
        http.post(URL, content=pcm(audio), headers={"content-type": "application/octet-stream"}),
        http.post(URL, content=pcm(audio), headers={"content-type": "application/x-www-form-urlencoded"}),
        http.post(URL, content=wav(audio)),
        http.post(URL, content=wav(audio), headers={"content-type": "audio/wav"}),
        http.post(URL, content=flac, headers={"content-type": "audio/flac"}),
        http.post(URL, files={"file": ("talk.flac", flac)}),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert {answer.json()["text"] for answer in answers} == {expected.text}
    body = answers[0].json()
    assert body["tokens"] == [token.id for token in expected.tokens]
    assert body["audio_length_samples"] == len(audio)
    assert 0 < body["confidence"] <= 1
    assert [word["word"] for word in body["words"]] == expected.text.split()


def test_lengths_are_those_of_the_models(http, server, clips):
    triton = grpc.InferenceServerClient(server.grpc_endpoint)
    for samples in (100, 1600, 7840, 8000, 16001, len(clips[1].audio)):
        audio = np.zeros(samples, np.float32)
        features, length = infer(triton, "preprocessor_batch", {"AUDIO": audio[None]}, "FEATURES", "FEATURES_LENGTH")
        given = {"FEATURES": features, "FEATURES_LENGTH": length}
        (encoded,) = infer(triton, "encoder_batch", given, "ENCODED_LENGTH")
        body = http.post(URL, content=pcm(audio)).json()
        assert (body["features_length"], body["encoded_length"]) == (int(length[0, 0]), int(encoded[0, 0])), samples


def infer(triton, model, arrays, *names):
    tensors = []
    for name, array in arrays.items():
        kind = "INT64" if array.dtype == np.int64 else "FP32"
        tensor = grpc.InferInput(name, array.shape, kind)
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    result = triton.infer(model, tensors)
    return [result.as_numpy(name) for name in names]


def test_frames_follow_from_hop_and_subsampling():
    frames = Frames(hop_samples=160, subsampling=4)
    assert (frames.features(1600), frames.encoded(1600)) == (10, 4)
    assert (frames.features(159), frames.encoded(159)) == (0, 0)


def test_raw_samples_of_another_rate(http, clips, expected):
    doubled = pcm(np.repeat(clips[1].audio, 2))
    body = http.post(URL, params={"sample_rate": 32000}, content=doubled).json()
    assert body["audio_length_samples"] == pytest.approx(len(clips[1].audio), abs=10)
    assert body["text"].split()[:2] == expected.text.split()[:2]


def test_options_reach_the_decoder(http, clips):
    body = http.post(URL, params={"beam_size": 4, "n_best": 3, "endpointing": True}, content=pcm(clips[1].audio)).json()
    assert len(body["alternatives"]) > 1
    assert body["segments"][-1]["rule"] == "end"


@pytest.mark.parametrize(
    ("content", "parameters", "status", "message"),
    [
        (b"", {}, 400, "the body is empty"),
        (b"abc", {}, 400, "the body has 3 bytes; 16-bit samples have two bytes each"),
        (b"RIFF1234WAVEnonsense", {}, 400, "the body: cannot be decoded"),
        (b"ab", {"sample_rate": 5}, 422, "query.sample_rate is"),
        (b"ab" * 800, {"beam_size": 99}, 422, "query.beam_size is"),
        (b"ab" * 800, {"beam_size": 50}, 400, "beam_size is 50; allowed: whole numbers 1 to 16"),
        (b"ab" * 800, {"n_best": 3}, 400, "n_best"),
    ],
)
def test_what_is_wrong_is_said(http, content, parameters, status, message):
    answer = http.post(URL, content=content, params=parameters)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_an_unknown_model_is_refused_with_those_there_are(http):
    answer = http.post("/v2/decode/batch/nonsense", content=b"ab")
    assert answer.status_code == 404
    assert "model is 'nonsense'; allowed: default, whisper-1" in answer.json()["error"]["message"]


def test_a_playlist_is_no_way_to_the_files_of_the_machine(http, tmp_path, clips):
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(clips[1].audio))
    for playlist in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{secret}'\n",
    ):
        answer = http.post(URL, content=playlist.encode(), headers={"content-type": "audio/mpegurl"})
        assert answer.status_code == 400, answer.text
