"""Single bits of a request that turn over outside of its audio, on the way to the real server."""

from __future__ import annotations

import numpy as np
import pytest

from amira_asr import AsyncAsrClient, DecodingOptions, Final, InvalidRequest, Settings
from amira_asr.options import NO_OPTIONS
from loadtest.chaos.fault_proxy import FaultProxy, Line

VALUE = b"\x12\x02\x08"  # between the name of a parameter and its value, true or false


class Damage(FaultProxy):
    """Turns one bit over, once, in the next request that has these bytes."""

    def __init__(self, endpoint: str, text: bytes, offset: int) -> None:
        super().__init__(endpoint)
        self._text, self._offset = text, offset

    def damage(self, data: bytes) -> bytes:
        at = data.find(self._text)
        if self.damaged or at < 0:
            return data
        self.damaged += 1
        damaged = bytearray(data)
        damaged[at + self._offset] ^= 1
        return bytes(damaged)


async def stream(endpoint, audio, options=NO_OPTIONS, *, proxy=None, after=0):
    """The events of a stream; the proxy does its damage once so many have come."""
    events = []
    async with AsyncAsrClient(Settings(triton_endpoint=endpoint, inference_timeout_secs=10)) as client:
        if proxy is not None and after == 0:
            proxy.line = Line(damage_there=1.0)
        async for event in client.stream([audio], options=options):
            events.append(event)
            if proxy is not None and len(events) == after:
                proxy.line = Line(damage_there=1.0)
    return events


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize(
    ("text", "offset"),
    [
        (b"sequence_end", 4),
        (b"sequence_start", 4),
        (b"sequence_id", 4),
        (b"audio_crc32", 4),
        (b"asr_streaming", 4),
        (b"AUDIO", 4),
        (b"FP32", 3),
        (b"TOKEN_TIMES", 4),
        (b"sequence_start" + VALUE, len("sequence_start") + len(VALUE)),
        (b"sequence_end" + VALUE, len("sequence_end") + len(VALUE)),
    ],
)
async def test_a_damaged_request_is_repeated_and_no_word_changes(server, speech, text, offset, after):
    expected = await stream(server.grpc_endpoint, speech)
    async with Damage(server.grpc_endpoint, text, offset) as proxy:
        events = await stream(proxy.endpoint, speech, proxy=proxy, after=after)
        assert proxy.damaged == 1
    assert [event.text for event in events] == [event.text for event in expected]
    assert type(events[-1]) is Final


async def test_the_last_request_without_its_end_is_repeated(server, speech):
    whole = speech[: len(speech) // 8960 * 8960]  # so that the request with END is as long as the others
    expected = await stream(server.grpc_endpoint, whole)
    text = b"sequence_end" + VALUE
    async with Damage(server.grpc_endpoint, text + b"\x01", len(text)) as proxy:
        events = await stream(proxy.endpoint, whole, proxy=proxy)
        assert proxy.damaged == 1
    assert [event.text for event in events] == [event.text for event in expected]


async def test_a_recording_whose_request_was_damaged_is_sent_again(server, speech):
    async with Damage(server.grpc_endpoint, b"audio_crc32", 4) as proxy:
        proxy.line = Line(damage_there=1.0)
        async with AsyncAsrClient(Settings(triton_endpoint=proxy.endpoint)) as client:
            heard = await client.transcribe(speech)
        assert proxy.damaged == 1
    assert heard.text == (await stream(server.grpc_endpoint, speech))[-1].text


async def test_an_option_whose_name_was_damaged_is_sent_again_and_a_wrong_one_is_not(server, speech):
    options = DecodingOptions(beam_size=2, endpointing=True)
    expected = await stream(server.grpc_endpoint, speech, options)
    async with Damage(server.grpc_endpoint, b"endpointing", 4) as proxy:
        events = await stream(proxy.endpoint, speech, options, proxy=proxy)
        assert proxy.damaged == 1
    assert events[-1].segments == expected[-1].segments
    with pytest.raises(InvalidRequest, match=r"^beam_size is 99; allowed: whole numbers 1 to 16$"):
        await stream(server.grpc_endpoint, np.zeros(8960, np.float32), DecodingOptions(beam_size=99))
