"""The server against NeMo itself: the same tokens, streaming or batch, alone or among 32 streams."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from amira_asr.audio import load_audio
from common.parameters import ModelConfig
from loadtest.raw_pipeline import read_config
from log_mel.mel import LogMel
from scripts.goldens import Goldens, audio_checksum
from scripts.serving.staging import RepositorySettings
from tests.conftest import CLIPS, ROOT, start_server
from tests.server.streams import Streams, stream_interleaved

SPEECH = Path(os.environ.get("AMIRA_TEST_SPEECH", ROOT.parent / "shared" / "speech")) / "eval"
FRAME_SECS = 0.08


@pytest.fixture(scope="module")
def goldens():
    return Goldens.load(ROOT / "tests" / "goldens")


@pytest.fixture(scope="module")
def streams(server):
    return Streams(server.grpc_endpoint)


@pytest.fixture(scope="module")
def recordings(goldens):
    """Every recording that NeMo was run on: audio and its golden."""
    pairs = [(load_audio(CLIPS / path), golden) for path, golden in goldens.clips.items()]
    if SPEECH.is_dir():
        pairs += [(load_audio(SPEECH / path), golden) for path, golden in goldens.speech.items()]
    for audio, golden in pairs:
        assert audio_checksum(audio) == golden.audio_sha256, f"{golden.path} is not the recording NeMo was run on"
    return pairs


def test_goldens_belong_to_the_shipped_weights(goldens):
    description = json.loads((ROOT / "model-repo" / "description.json").read_text())
    assert description["source"]["sha256"] == goldens.origin.checkpoint_sha256


def test_streaming_equals_nemo(streams, recordings):
    for audio, golden in recordings:
        final = streams.stream(audio)[-1]
        assert final.tokens == golden.streaming_tokens, golden.path
        assert final.text == golden.text, golden.path
        np.testing.assert_allclose(final.times, np.array(golden.token_frames) * FRAME_SECS, atol=1e-4)


def test_batch_equals_nemo(streams, recordings):
    for audio, golden in recordings:
        if len(audio) <= 30 * 16000:
            response = streams.batch(audio)
            assert response.tokens == golden.tokens, golden.path
            assert response.is_final


@pytest.mark.parametrize("seed", [1, 2])
async def test_thirty_two_interleaved_streams_equal_nemo(server, recordings, seed):
    chosen = [recordings[index % len(recordings)] for index in range(32)]
    responses = await stream_interleaved(server.grpc_endpoint, [audio for audio, _ in chosen], seed)
    for (_, golden), of_stream in zip(chosen, responses, strict=True):
        assert of_stream[-1].tokens == golden.streaming_tokens, golden.path


def test_joint_in_the_process_of_the_decoder_finds_the_same(tmp_path, recordings):
    with start_server(tmp_path, RepositorySettings(joint="local")) as server:
        streams = Streams(server.grpc_endpoint)
        for audio, golden in recordings[:2]:
            assert streams.stream(audio)[-1].tokens == golden.streaming_tokens, golden.path
        audio, golden = recordings[0]
        assert streams.batch(audio).tokens == golden.tokens


def test_all_recordings_were_there(recordings, goldens):
    if not SPEECH.is_dir():
        pytest.skip(f"parity was tested on the {len(goldens.clips)} bundled clips only: {SPEECH} is absent")
    assert len(recordings) == len(goldens.clips) + len(goldens.speech)


def test_mel_features_equal_nemo(goldens):
    config: ModelConfig = read_config(ROOT / "model-repo" / "preprocessor")
    mel = LogMel.configured(config, ROOT / "model-repo" / "preprocessor" / "1")
    features = mel.utterance(load_audio(CLIPS / goldens.tensors.path))
    np.testing.assert_allclose(features.T, goldens.tensors.features, atol=1e-4)
