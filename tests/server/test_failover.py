"""A stream goes on at another real server when its own is killed, frozen or stopping: no word is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest

from amira_asr import AsrClient, AsyncAsrClient, DecodingOptions, SequenceLost, Settings
from amira_asr.sequence import ServerSequence
from scripts.serving.staging import RepositorySettings
from tests.conftest import CLIPS, ROOT, start_server

DEADLINE_SECS = 3.0
COMMAND = [sys.executable, "-c", "from amira_asr.cli import main; main()"]


@pytest.fixture(scope="module")
def fragile(tmp_path_factory):
    """A private server. Its tests come in this order: freeze, drain, kill."""
    with start_server(tmp_path_factory.mktemp("fragile"), RepositorySettings()) as running:
        yield running


@pytest.fixture(scope="module")
def both(fragile, server):
    """host:port of both, the fragile one first."""
    return f"{fragile.grpc_endpoint},{server.grpc_endpoint}"


@pytest.fixture
def client(both):
    settings = Settings(triton_endpoint=both, inference_timeout_secs=DEADLINE_SECS)
    with AsrClient(settings) as client:
        client.models()  # the other server's turn is next
        client.transcribe(np.zeros(1600, np.float32))  # and the fragile one's after it
        yield client


@pytest.fixture(scope="module")
def undisturbed(server, clips):
    """The events of a stream with nothing in its way."""
    with AsrClient(Settings(triton_endpoint=server.grpc_endpoint)) as client:
        return list(client.stream([long(clips)]))


def long(clips):
    """Three recordings with little between them."""
    return np.concatenate([clip.audio for clip in clips])


def stream_with(client, audio, trouble, after=6):
    """The events of a stream whose server gets into trouble after some of them."""
    events = []
    for event in client.stream(np.array_split(audio, 60)):
        events.append(event)
        if len(events) == after:
            trouble()
    return events


def assert_same(events, expected):
    assert [event.text for event in events] == [event.text for event in expected]
    assert [token.id for token in events[-1].tokens] == [token.id for token in expected[-1].tokens]
    assert [word.start_secs for word in events[-1].words] == pytest.approx(
        [word.start_secs for word in expected[-1].words], abs=0.02
    )
    assert [segment.text for segment in events[-1].segments] == [events[-1].text]


@pytest.mark.parametrize("endpointing", [False, True])
async def test_a_stream_longer_than_what_is_kept_is_joined_without_a_trace(server, clips, monkeypatch, endpointing):
    pause = np.zeros(12_000, np.float32)
    audio = np.concatenate([part for clip in clips * 4 for part in (clip.audio, pause)])
    settings = Settings(triton_endpoint=server.grpc_endpoint, inference_timeout_secs=60, resume_audio_secs=30)
    options = DecodingOptions(endpointing=endpointing)
    lost_at, received = {}, Counter()
    receive = ServerSequence.receive

    async def receive_or_lose(sequence):
        stream = asyncio.current_task()
        received[stream] += 1
        if received[stream] == lost_at.get(stream):
            raise SequenceLost("lost by the test")
        return await receive(sequence)

    monkeypatch.setattr(ServerSequence, "receive", receive_or_lose)
    async with AsyncAsrClient(settings) as client:

        async def events(loss):
            lost_at[asyncio.current_task()] = loss
            return [event async for event in client.stream([audio], options=options)]

        expected = await asyncio.ensure_future(events(None))
        assert len(expected) * 0.56 > 2 * settings.resume_audio_secs  # so that most of it is not kept
        for found in await asyncio.gather(*(events(loss) for loss in (70, 95, 120))):
            assert [event.text for event in found] == [event.text for event in expected]
            assert [token.id for token in found[-1].tokens] == [token.id for token in expected[-1].tokens]
            for event, original in zip(found, expected, strict=True):
                assert [(part.text, part.rule) for part in event.segments] == [
                    (part.text, part.rule) for part in original.segments
                ]
    assert max(received.values()) > len(expected)  # the losses cost something


def test_frozen(fragile, client, clips, undisturbed):
    try:
        events = stream_with(client, long(clips), lambda: os.kill(fragile.pid, signal.SIGSTOP))
        assert_same(events, undisturbed)
        assert client.endpoints[0].failures >= 1
    finally:
        os.kill(fragile.pid, signal.SIGCONT)
    assert_same(stream_with(client, long(clips), lambda: None), undisturbed)


def test_draining(fragile, client, clips, undisturbed):
    draining = threading.Thread(target=fragile.drain, daemon=True)
    inside = stream_with(client, long(clips), draining.start)
    assert_same(inside, undisturbed)
    for _ in range(2):  # one of them has its turn at the stopping server
        assert_same(stream_with(client, long(clips), lambda: None), undisturbed)
    fragile.options.runtime_folder.joinpath("draining").unlink()


def test_killed_while_the_command_streams(fragile, both, clips, undisturbed, tmp_path):
    command = [
        sys.executable,
        "-c",
        "from amira_asr.cli import main; main()",
        "stream",
        "-",
        "--json",
        "--format",
        "f32le",
    ]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "AMIRA_TRITON_ENDPOINT": both, "PYTHONPATH": str(ROOT / "clients")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        audio = long(clips).tobytes()
        process.stdin.write(audio[: len(audio) // 2])
        process.stdin.flush()
        lines = [process.stdout.readline() for _ in range(5)]
        os.killpg(fragile.pid, signal.SIGKILL)
        process.stdin.write(audio[len(audio) // 2 :])
        process.stdin.close()
        lines += process.stdout.readlines()
    assert process.returncode == 0
    assert len(lines) == len(undisturbed)
    assert f'"text": "{undisturbed[-1].text}"'.encode() in lines[-1]


def test_the_command_names_the_state_of_a_dead_server(fragile):
    began = time.monotonic()
    done = subprocess.run(
        [*COMMAND, "transcribe", *map(str, sorted(CLIPS.glob("*.flac")))],
        env={**os.environ, "AMIRA_TRITON_ENDPOINT": fragile.grpc_endpoint, "PYTHONPATH": str(ROOT / "clients")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"no server at {fragile.grpc_endpoint}" in done.stderr
    assert "circuit open after" in done.stderr
    assert time.monotonic() - began < 30
