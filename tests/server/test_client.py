"""The client library and its command line against the real server, healthy, full, frozen and dead."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from amira_asr import (
    AsrClient,
    AsyncAsrClient,
    DeadlineExceeded,
    Final,
    InvalidAudio,
    Partial,
    ServerFull,
    ServerUnavailable,
    Settings,
)
from scripts.serving.staging import RepositorySettings
from tests.conftest import CLIPS, ROOT, start_server

DEADLINE_SECS = 2.0


@pytest.fixture
def settings(server):
    return Settings(triton_endpoint=server.grpc_endpoint)


@pytest.fixture(scope="module")
def client(server):
    with AsrClient(Settings(triton_endpoint=server.grpc_endpoint)) as client:
        yield client


@pytest.fixture
def fragile(tmp_path):
    """A private server to break, and a client that waits for it only briefly."""
    with start_server(tmp_path, RepositorySettings(max_concurrent_streams=1)) as server:
        settings = Settings(
            triton_endpoint=server.grpc_endpoint, inference_timeout_secs=DEADLINE_SECS, resume_timeout_secs=1
        )
        with AsrClient(settings) as client:
            yield server, client


def cut(audio, seed=0):
    """The waveform in buffers of random length."""
    rng = random.Random(seed)
    edges = sorted(rng.sample(range(1, len(audio)), 40))
    return np.split(audio, edges)


def test_a_stream_yields_partials_and_one_final(client, clips):
    events = list(client.stream(cut(clips[0].audio)))
    assert all(type(event) is Partial for event in events[:-1])
    assert type(events[-1]) is Final
    assert events[-1].text == client.transcribe(clips[0].audio).text != ""
    assert " ".join(word.text for word in events[-1].words) == events[-1].text
    assert events[-1].audio_secs == pytest.approx(len(clips[0].audio) / 16000, abs=0.2)


def test_bytes_arrays_and_files_give_the_same(client, clips):
    expected = client.transcribe(clips[1].audio).text
    data = np.round(clips[1].audio * 32768).astype("<i2")
    assert list(client.stream([data.tobytes()[:999], data.tobytes()[999:]]))[-1].text == expected
    assert list(client.stream([data]))[-1].text == expected
    assert client.transcribe(CLIPS / f"{clips[1].name}.flac").text == expected
    assert client.transcribe(data.tobytes()).text == expected


def test_another_sample_rate_is_resampled(client, clips):
    doubled = np.repeat(clips[1].audio, 2)
    final = list(client.stream([doubled], sample_rate=32000))[-1]
    assert final.audio_secs == pytest.approx(len(clips[1].audio) / 16000, abs=0.2)
    assert final.text


def test_empty_audio(client):
    final = list(client.stream([]))[-1]
    assert (type(final), final.text) == (Final, "")
    with pytest.raises(InvalidAudio, match="no samples"):
        client.transcribe(b"")


def test_models_tell_their_format(client):
    models = {model.name: model for model in client.models()}
    assert models["asr_streaming"].streaming
    assert models["asr_streaming"].chunk_ms == 560.0
    assert models["asr_batch"].max_audio_secs == 30.0
    assert {model.sample_rate for model in models.values()} == {16000}


def test_long_recordings_are_split_and_joined(client, clips):
    pause = np.zeros(16000, np.float32)
    audio = np.concatenate([part for clip in clips * 3 for part in (clip.audio, pause)])
    assert len(audio) > 45 * 16000
    final = client.transcribe(audio)
    starts = [word.start_secs for word in final.words]
    assert starts == sorted(starts)
    assert final.audio_secs == pytest.approx(len(audio) / 16000, abs=0.2)
    assert starts[-1] > 45


async def test_twenty_streams_at_once(settings, clips):
    async with AsyncAsrClient(settings) as client:

        async def last(audio, seed):
            async def live():
                for buffer in cut(audio, seed):
                    await asyncio.sleep(0)
                    yield buffer

            return [event async for event in client.stream(live())][-1].text

        expected = [(await client.transcribe(clip.audio)).text for clip in clips]
        texts = await asyncio.gather(*(last(clips[n % 3].audio, n) for n in range(20)))
        assert texts == [expected[n % 3] for n in range(20)]


def test_bad_audio_raises_with_what_was_recognised(client, clips):
    spoiled = clips[0].audio.copy()
    spoiled[70000] = np.nan
    events = []
    with pytest.raises(InvalidAudio, match=r"is nan; every sample must be a finite number") as caught:
        events.extend(client.stream([spoiled]))
    assert caught.value.partial.text
    assert client.transcribe(clips[0].audio).text.startswith(caught.value.partial.text[:10])


def test_an_abandoned_iterator_gives_its_place_back(fragile, clips):
    _, client = fragile
    for _ in client.stream(cut(clips[0].audio)):
        break
    assert type(list(client.stream([clips[1].audio]))[-1]) is Final


def test_a_full_server_refuses_and_says_it_is_worth_retrying(fragile, clips):
    _, client = fragile
    first = client.stream(cut(clips[0].audio))
    next(first)
    with pytest.raises(ServerFull, match="server full: 1 of 1") as caught:
        list(client.stream([clips[1].audio]))
    assert caught.value.retryable
    assert type(list(first)[-1]) is Final
    assert type(list(client.stream([clips[1].audio]))[-1]) is Final


def test_a_killed_server_is_noticed_within_the_deadline(fragile, clips):
    server, client = fragile
    stream = client.stream(np.array_split(clips[0].audio, 12))
    before = [next(stream) for _ in range(3)][-1]
    os.killpg(server.pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises((ServerUnavailable, DeadlineExceeded)) as caught:
        list(stream)
    assert time.monotonic() - began < DEADLINE_SECS + 4
    assert caught.value.partial.tokens[: len(before.tokens)] == before.tokens
    assert caught.value.retryable
    assert not client.is_ready()


def test_a_frozen_server_is_noticed_at_the_deadline(fragile, clips):
    server, client = fragile
    stream = client.stream(np.array_split(clips[0].audio, 12))
    next(stream)
    os.kill(server.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        with pytest.raises((ServerUnavailable, DeadlineExceeded), match=r"did not answer within 2 s"):
            list(stream)
        assert time.monotonic() - began < DEADLINE_SECS + 7  # two probes of 2 s, a pause, and the goodbye
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_no_server_is_said_so(clips):
    with AsrClient(Settings(triton_endpoint="127.0.0.1:9")) as client:
        assert not client.is_ready()
        for attempt in (client.models, lambda: list(client.stream([clips[0].audio]))):
            with pytest.raises(ServerUnavailable, match=r"no server at 127.0.0.1:9"):
                attempt()


def command(*arguments, standard_input=None):
    return subprocess.run(
        [sys.executable, "-c", "from amira_asr.cli import main; main()", *arguments],
        cwd=ROOT,
        input=standard_input,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_command_stream(server, clips, client):
    expected = client.transcribe(clips[1].audio).text
    path = str(CLIPS / f"{clips[1].name}.flac")
    done = command("stream", path, "--fast", "--json", "--endpoint", server.grpc_endpoint)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in events] == ["partial"] * (len(events) - 1) + ["final"]
    assert events[-1]["text"] == expected
    stereo = np.repeat(np.round(clips[1].audio * 32767).astype("<i2"), 2).tobytes()
    done = command(
        "stream", "-", "--channels", "2", "--stats", "--endpoint", server.grpc_endpoint, standard_input=stereo
    )
    assert done.stdout.decode().strip() == expected
    assert "latency p50" in done.stderr.decode()


def test_command_transcribe_goes_on_after_a_bad_file(server, clips, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    files = [str(CLIPS / f"{clip.name}.flac") for clip in clips]
    out = tmp_path / "out"
    done = command(
        *["transcribe", files[0], str(bad), *files[1:], "--format", "srt", "--output-dir", str(out)],
        *["--endpoint", server.grpc_endpoint],
    )
    assert done.returncode == 1
    assert "bad.wav" in done.stderr.decode()
    assert sorted(path.name for path in out.iterdir()) == sorted(f"{clip.name}.srt" for clip in clips)
    assert all("-->" in path.read_text() for path in out.iterdir())


def test_command_models_and_errors(server):
    done = command("models", "--endpoint", server.grpc_endpoint)
    assert "asr_streaming" in done.stdout.decode()
    assert "560 ms" in done.stdout.decode()
    done = command("models", "--endpoint", "127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.decode().startswith("amira-asr: no server at 127.0.0.1:9")
    assert "Traceback" not in done.stderr.decode()
