"""A model of random weights behind the real server: streaming, batch and many streams at once equal the reference."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from amira_asr import AsrClient, AsyncAsrClient, Final, Settings
from scripts.export.layout import Layout
from scripts.export.serving_options import ServingOptions
from scripts.export.zipformer.importer import import_zipformer
from scripts.serving.server import TritonServer
from scripts.serving.server_options import ServerOptions
from scripts.serving.staging import RepositorySettings, stage_repository
from tests.zipformer.reference import Reference
from tests.zipformer.synthetic import write_model

pytestmark = pytest.mark.server

CHUNK = 5120


@pytest.fixture(scope="module", params=[1, "N"], ids=["batch of 1", "any batch"])
def folder(request, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), batch=request.param)


@pytest.fixture(scope="module")
def zipformer_server(folder, tmp_path_factory):
    runtime = tmp_path_factory.mktemp("triton")
    import_zipformer(folder, Layout(runtime / "imported"), ServingOptions())
    stage_repository(runtime / "imported", runtime / "model-repo", RepositorySettings())
    with TritonServer(ServerOptions(runtime / "model-repo", runtime)) as running:
        yield running


@pytest.fixture(scope="module")
def recordings(folder, clips):
    """Audio of several lengths, and what the reference recognises in it."""
    audio = [clip.audio for clip in clips]
    audio += [audio[0][: 3 * CHUNK], audio[0][: 3 * CHUNK + 1], audio[1][:100]]
    reference = Reference(folder)
    return [(samples, reference.recognise(samples)) for samples in audio]


def check(final, expected):
    assert [token.id + 1 for token in final.tokens] == expected.tokens
    np.testing.assert_allclose([token.time_secs for token in final.tokens], expected.times, atol=1e-3)


def test_the_recordings_are_worth_it(recordings):
    assert sum(len(expected.tokens) for _, expected in recordings) > 100
    assert len({token for _, expected in recordings for token in expected.tokens}) > 8
    assert sum(expected.unknowns for _, expected in recordings) > 0


def test_streaming_and_batch_equal_the_reference(zipformer_server, recordings):
    with AsrClient(Settings(triton_endpoint=zipformer_server.grpc_endpoint)) as client:
        for audio, expected in recordings:
            *_, final = client.stream([audio])
            assert isinstance(final, Final)
            check(final, expected)
            check(client.transcribe(audio), expected)


def test_both_recognisers_are_shown(zipformer_server):
    with AsrClient(Settings(triton_endpoint=zipformer_server.grpc_endpoint)) as client:
        assert {(model.name, model.streaming) for model in client.models()} == {
            ("asr_streaming", True),
            ("asr_batch", False),
        }


async def test_sixteen_interleaved_streams_equal_the_reference(zipformer_server, recordings):
    chosen = [recordings[index % len(recordings)] for index in range(16)]
    pauses = random.Random(0)

    async def paced(audio):
        for start in range(0, len(audio), CHUNK):
            await asyncio.sleep(pauses.uniform(0, 0.02))
            yield audio[start : start + CHUNK]

    async def final_of(client, audio):
        events = [event async for event in client.stream(paced(audio))]
        return events[-1]

    async with AsyncAsrClient(Settings(triton_endpoint=zipformer_server.grpc_endpoint)) as client:
        finals = await asyncio.gather(*(final_of(client, audio) for audio, _ in chosen))
    for final, (_, expected) in zip(finals, chosen, strict=True):
        check(final, expected)


def test_a_failed_stream_gives_what_was_recognised_and_frees_its_states(zipformer_server, recordings):
    audio, expected = recordings[0]
    client = grpc.InferenceServerClient(zipformer_server.grpc_endpoint)

    def send(samples, *, start=False, end=False):
        tensor = grpc.InferInput("AUDIO", [1, len(samples)], "FP32")
        tensor.set_data_from_numpy(samples[None])
        result = client.infer(
            "asr_streaming", [tensor], sequence_id="again", sequence_start=start, sequence_end=end, client_timeout=30
        )
        return result.as_numpy("TOKENS")[0]

    for _ in range(2):
        before = [send(audio[index * CHUNK :][:CHUNK], start=index == 0) for index in range(4)][-1]
        with pytest.raises(InferenceServerException, match=r"AUDIO has 7 samples.*exactly 5120"):
            send(audio[:7])
        np.testing.assert_array_equal(send(audio[:7], end=True), before)
        assert [token + 1 for token in before] == expected.tokens[: len(before)]
