"""`WS /v2/decode/stream/{model}`: the older server's protocol, replayed over a real socket."""

from __future__ import annotations

import asyncio
import json

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from amira_asr import AsyncAsrClient, Settings
from tests.gateway.conftest import pcm, running_gateway

END, KEEPALIVE = b"\x00", b"\x01"
FRAME = 640  # bytes of 20 ms, what the older clients send


@pytest.fixture
def url(gateway):
    return f"{gateway.websocket_url}/asr_streaming"


async def expected_text(server, audio, **options):
    async with AsyncAsrClient(Settings(triton_endpoint=server.grpc_endpoint)) as client:
        return [event async for event in client.stream([audio], **options)][-1].text


async def rest(socket):
    """All messages until the server closes."""
    messages = []
    try:
        while True:
            messages.append(json.loads(await socket.recv()))
    except ConnectionClosed:
        return messages


async def test_the_old_protocol(url, server, clips):
    data = pcm(clips[1].audio)
    async with connect(url) as socket:
        for number, start in enumerate(range(0, len(data), FRAME)):
            await socket.send(data[start : start + FRAME])
            if number % 10 == 0:
                await socket.send(KEEPALIVE)
        await socket.send(END)
        messages = await rest(socket)
        assert socket.close_code == 1000
    assert [message["type"] for message in messages] == ["partial"] * (len(messages) - 1) + ["final"]
    assert len(messages) == len(clips[1].audio) // 8960 + 1
    final = messages[-1]
    assert final["text"] == await expected_text(server, data)
    assert all(isinstance(token, int) for token in final["tokens"])
    assert 0 < final["confidence"] <= 1
    assert final["stable_text"] == final["text"]
    assert final["audio_secs"] == pytest.approx(len(clips[1].audio) / 16000, abs=0.2)


async def test_a_message_of_one_byte_is_never_audio_and_others_always_are(url, server, clips):
    """Odd messages carry half a sample over, controls between the halves change nothing, and 0x0000 is silence."""
    data = pcm(clips[1].audio)
    async with connect(url) as socket:
        await socket.send(data[:641])
        await socket.send(KEEPALIVE)
        await socket.send(b"")
        await socket.send(data[641:1280])
        await socket.send(data[1280:])
        await socket.send(b"\x00\x00")
        await socket.send(END)
        messages = await rest(socket)
    assert messages[-1]["type"] == "final"
    assert messages[-1]["text"] == await expected_text(server, data + b"\x00\x00")


async def test_controls_in_words_and_segments(url, clips):
    async with connect(url) as socket:
        await socket.send(pcm(clips[0].audio))
        await socket.send('{"type": "finalize"}')
        await socket.send(pcm(clips[1].audio))
        await socket.send('{"type": "end"}')
        messages = await rest(socket)
    rules = [segment["rule"] for message in messages for segment in message["segments"]]
    assert rules == ["finalize", "end"]


async def test_words_come_once_they_change(url, clips):
    words = []
    async with connect(f"{url}?words=true") as socket:
        await socket.send(pcm(clips[0].audio))
        await socket.send(END)
        for message in await rest(socket):
            words[message["words_from"] :] = message["words"]
            assert " ".join(word["word"] for word in words) == message["text"]
            assert message["text"].startswith(message["stable_text"])
    starts = [word["start"] for word in words]
    assert starts == sorted(starts)
    assert len(words) > 3


async def test_partials_come_while_audio_does(url, clips):
    data = pcm(clips[0].audio)
    async with connect(url) as socket:
        await socket.send(data[: 2 * 2 * 8960])
        first = json.loads(await asyncio.wait_for(socket.recv(), 10))
        assert first["type"] == "partial"
        await socket.send(data[2 * 2 * 8960 :])
        await socket.send(END)
        assert (await rest(socket))[-1]["type"] == "final"


async def test_another_rate_and_options(url, server, clips):
    doubled = np.repeat(clips[1].audio, 2)
    async with connect(f"{url}?sample_rate=32000&beam_size=4&n_best=3") as socket:
        await socket.send(pcm(doubled))
        await socket.send(END)
        messages = await rest(socket)
    assert messages[-1]["audio_secs"] == pytest.approx(len(clips[1].audio) / 16000, abs=0.2)
    assert len(messages[-1]["alternatives"]) > 1


async def test_an_empty_stream(url):
    async with connect(url) as socket:
        await socket.send(END)
        messages = await rest(socket)
    assert [(message["type"], message["text"], message["confidence"]) for message in messages] == [("final", "", 0.0)]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("[" * 100_000, "text message is '[[[[["),
        (b"\x7f", "control byte is 0x7f; allowed: 0x00 ends the stream, 0x01 keeps it alive"),
        ("hello", "text message is 'hello'; allowed: "),
        ('{"type": "dance"}', "text message is 'dance'; allowed: "),
    ],
)
async def test_a_bad_message_ends_the_stream_with_what_was_heard(url, clips, message, reason):
    async with connect(url) as socket:
        await socket.send(pcm(clips[0].audio))
        for _ in range(len(clips[0].audio) // 8960):
            await socket.recv()
        await socket.send(message)
        error = (await rest(socket))[-1]
        assert socket.close_code == 1007
    assert error["type"] == "error"
    assert reason in error["message"]
    assert error["partial_text"]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("nonsense", 404, "model is 'nonsense'; allowed: default"),
        ("default?sample_rate=1", 422, "sample_rate is"),
    ],
)
async def test_what_cannot_be_served_is_refused_in_place_of_the_handshake(gateway, path, status, message):
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{gateway.websocket_url}/{path}")
    assert caught.value.response.status_code == status
    assert message in json.loads(caught.value.response.body)["error"]["message"]


async def test_an_option_that_the_recogniser_refuses(url):
    async with connect(f"{url}?beam_size=60") as socket:
        await socket.send(bytes(2 * 8960))
        error = (await rest(socket))[-1]
    assert (error["type"], error["code"]) == ("error", "invalid_option")
    assert "beam_size is 60; allowed" in error["message"]


async def test_pages_of_other_origins_are_refused(gateway, url):
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, origin="https://elsewhere.example")
    assert caught.value.response.status_code == 403
    async with connect(url, origin=gateway.url) as socket:
        await socket.send(END)


async def test_a_caller_that_hangs_up_gives_the_place_back(server, clips):
    with running_gateway(server.grpc_endpoint, gateway_max_streams=1) as gateway:
        url = f"{gateway.websocket_url}/default"
        async with connect(url) as socket:
            await socket.send(pcm(clips[0].audio))
            await socket.recv()
            with pytest.raises(InvalidStatus) as caught:
                await connect(url)
            assert caught.value.response.status_code == 503
            assert caught.value.response.headers["Retry-After"] == "1"
        async with httpx.AsyncClient(base_url=gateway.url) as http:
            for _ in range(100):
                if not (await http.get("/health/detailed")).json()["streams"]["active"]:
                    break
                await asyncio.sleep(0.05)
        async with connect(url) as socket:
            await socket.send(END)
            assert (await rest(socket))[-1]["type"] == "final"


async def test_silence_without_keepalive_ends_a_stream_and_keepalive_does_not(server):
    with running_gateway(server.grpc_endpoint, stream_timeout_secs=0.6, gateway_max_audio_secs=1) as gateway:
        async with connect(f"{gateway.websocket_url}/default") as socket:
            for _ in range(4):
                await asyncio.sleep(0.3)
                await socket.send(KEEPALIVE)
            [error] = await rest(socket)
        assert "nothing came for 0.6 s" in error["message"]
        async with connect(f"{gateway.websocket_url}/default") as socket:
            await socket.send(bytes(40_000))
            error = (await rest(socket))[-1]
        assert "longer than 1 s" in error["message"]
