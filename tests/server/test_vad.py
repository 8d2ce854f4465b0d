"""The model `vad`: probabilities and segments of whole recordings, its parameters, its metrics."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
import urllib.request
import wave

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tritonclient import grpc
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from amira_asr import AsrClient, Settings
from amira_asr.audio import load_audio
from amira_asr.speech import speech_probabilities
from amira_asr.split import split_at_silence
from scripts.vad.goldens import GOLDENS, recording
from tests.server.streams import audio_input

AUDIO = recording(load_audio)
EXPECTED = json.loads(GOLDENS.read_text())


@pytest.fixture(scope="module")
def triton(server):
    return grpc.InferenceServerClient(server.grpc_endpoint)


def detect(triton, audio, **parameters):
    """Probabilities [windows] and segments [segments, 2] of one recording."""
    result = triton.infer("vad", audio_input(audio), parameters=parameters or None, client_timeout=60.0)
    return result.as_numpy("SPEECH_PROBABILITY")[0], result.as_numpy("SEGMENTS")[0]


def counters(server, model):
    """Seconds of speech and of audio that a model has counted."""
    time.sleep(1.5)  # backends publish once a second
    with urllib.request.urlopen(server.metrics_url) as response:
        families = text_string_to_metric_families(response.read().decode())
    samples = [sample for family in families for sample in family.samples]
    names = ("amira_vad_speech_seconds_total", "amira_vad_audio_seconds_total")
    return [sum(s.value for s in samples if s.name == name and s.labels == {"model": model}) for name in names]


@pytest.mark.parametrize("case", EXPECTED["segments"], ids=lambda case: json.dumps(case["options"]))
def test_a_recording(triton, case):
    probabilities, segments = detect(triton, AUDIO, **case["options"])
    np.testing.assert_allclose(probabilities, EXPECTED["probabilities"], atol=1e-5)
    np.testing.assert_allclose(segments, np.array(case["segments"]) / 16000, atol=1e-4)


def test_silence_has_no_segments(triton):
    probabilities, segments = detect(triton, np.zeros(16000, np.float32))
    assert len(probabilities) == 32
    assert segments.shape == (0, 2)


def test_requests_of_different_length_at_once(server):
    lengths = [512, 16000, 100_000, len(AUDIO)] * 3

    async def detect_all():
        async with aio.InferenceServerClient(server.grpc_endpoint) as client:
            calls = (client.infer("vad", audio_input(AUDIO[:length])) for length in lengths)
            return await asyncio.gather(*calls)

    for length, result in zip(lengths, asyncio.run(detect_all()), strict=True):
        whole = length // 512
        found = result.as_numpy("SPEECH_PROBABILITY")[0][:whole]
        np.testing.assert_allclose(found, EXPECTED["probabilities"][:whole], atol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"threshold": 1.5}, "parameter threshold is 1.5; allowed: a number from 0.01 to 0.99"),
        ({"threshold": "loud"}, "parameter threshold is 'loud'; allowed: a number"),
        ({"min_silence_ms": -1}, "parameter min_silence_ms is -1; allowed: a number from 0 to 60000"),
        ({"min_speech_ms": True}, "parameter min_speech_ms is True"),
        ({"pad_ms": 10_001}, "parameter pad_ms is 10001"),
        ({"sample_rate": 8000}, "sample_rate is 8000; this model takes 16000 Hz"),
    ],
)
def test_wrong_parameters_are_named(triton, parameters, message):
    with pytest.raises(InferenceServerException, match=message):
        detect(triton, AUDIO[:16000], **parameters)


def test_wrong_audio_is_named(triton):
    with pytest.raises(InferenceServerException, match=r"AUDIO has 0 samples; allowed: 1 to 9600000 \(600 s\)"):
        detect(triton, [])
    with pytest.raises(InferenceServerException, match=r"AUDIO\[3\] is nan"):
        detect(triton, [0, 0, 0, np.nan])


def test_the_metrics_give_the_share_of_speech(server, triton):
    before = counters(server, "vad")
    probabilities, _ = detect(triton, AUDIO)
    speech, audio = np.subtract(counters(server, "vad"), before)
    assert audio == pytest.approx(len(probabilities) * 0.032)
    assert speech == pytest.approx((probabilities >= 0.5).sum() * 0.032)
    assert 0.5 < speech / audio < 1


@pytest.fixture(scope="module")
def long_recording(clips):
    """Three quarters of a minute with pauses of several lengths."""
    pauses = (np.zeros(samples, np.float32) for samples in itertools.cycle((4000, 11_200, 16_000)))
    return np.concatenate(
        [part for clip, pause in zip(clips * 3, pauses, strict=False) for part in (clip.audio, pause)]
    )


async def test_long_recordings_are_split_alike_by_client_and_server(server, long_recording):
    async def local(audio):
        return speech_probabilities(audio)

    async with aio.InferenceServerClient(server.grpc_endpoint) as client:

        async def remote(audio):
            return (await client.infer("vad", audio_input(audio))).as_numpy("SPEECH_PROBABILITY")[0]

        for max_secs in (7.0, 15.0, 30.0):
            here, there = [await split_at_silence(long_recording, 16000, max_secs, ears) for ears in (local, remote)]
            assert [start for start, _ in here] == [start for start, _ in there]
            assert len(here) > 1


def test_the_setting_chooses_who_listens(server, long_recording):
    finals, moved = [], []
    for vad in ("local", "server"):
        before = counters(server, "vad")[1]
        with AsrClient(Settings(triton_endpoint=server.grpc_endpoint, vad=vad)) as client:
            finals.append(client.transcribe(long_recording))
        moved.append(counters(server, "vad")[1] - before)
    assert moved[0] == 0
    assert 7 < moved[1] < 10
    assert len(finals[0].words) > 20
    assert finals[0].words == finals[1].words


def test_the_command_takes_the_setting(server, long_recording, tmp_path):
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((long_recording * 32767).astype("<i2").tobytes())
    command = [sys.executable, "-c", "from amira_asr.cli import main; main()", "transcribe", str(path)]
    command += ["--endpoint", server.grpc_endpoint, "--vad"]
    before = counters(server, "vad")[1]
    done = subprocess.run([*command, "server"], capture_output=True, cwd=tmp_path, timeout=60, check=True)
    assert done.stdout.strip()
    assert counters(server, "vad")[1] > before
    done = subprocess.run([*command, "elsewhere"], capture_output=True, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 1
    assert (
        "command line: setting 'vad' is 'elsewhere'; it should be 'auto', 'local' or 'server'" in done.stderr.decode()
    )
