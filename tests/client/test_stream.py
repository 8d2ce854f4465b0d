"""Streams: order, backpressure, replay after a loss, what is kept after an error, places given back."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from amira_asr import (
    AsyncAsrClient,
    AudioDamaged,
    DeadlineExceeded,
    Final,
    InvalidAudio,
    InvalidRequest,
    Partial,
    SequenceLost,
    ServerError,
    ServerFull,
    ServerUnavailable,
    Settings,
)
from amira_asr.retrying import for_streams
from tests.client.fake_triton import CHUNK, FULL, FakeTriton, chunk, serving, words

TIMEOUT_SECS = 1.0


@pytest.fixture
async def triton():
    return FakeTriton()


@pytest.fixture
async def client(triton):
    async with serving(triton) as endpoint:
        settings = Settings(triton_endpoint=endpoint, inference_timeout_secs=TIMEOUT_SECS)
        async with AsyncAsrClient(settings) as client:
            yield client


async def recognise(client, audio):
    return [event async for event in client.stream(audio)]


async def test_one_event_for_every_chunk_in_order(client, triton):
    audio = np.concatenate([chunk(level) for level in range(1, 31)])
    events = await recognise(client, np.array_split(audio, 7))
    assert [type(event) for event in events] == [Partial] * 30 + [Final]
    assert [event.text for event in events[:30]] == [words(*range(1, n + 1)) for n in range(1, 31)]
    assert events[-1].text == words(*range(1, 31))
    assert [start for _, _, start, _ in triton.requests] == [True] + [False] * 30
    assert [end for _, _, _, end in triton.requests] == [False] * 30 + [True]
    assert not triton.heard


async def test_chunks_go_ahead_of_their_responses_but_not_far(client, triton):
    taken = 0

    def audio():
        nonlocal taken
        for level in range(1, 101):
            taken += 1
            yield chunk(level)

    events = client.stream(audio())
    assert (await anext(events)).text == "w1"
    triton.answering.clear()
    await asyncio.sleep(0.3)
    assert 3 <= triton.most_unanswered <= 9
    assert taken <= 12
    triton.answering.set()
    assert [event async for event in events][-1].text == words(*range(1, 101))


async def test_nothing_goes_ahead_before_the_server_has_accepted(client, triton):
    triton.refusing = FULL
    with pytest.raises(ServerFull) as caught:
        await recognise(client, [chunk(level) for level in range(1, 20)])
    assert caught.value.retryable
    assert caught.value.partial is None
    assert [(start, end) for _, _, start, end in triton.requests] == [(True, False), (False, True)] * 3


@pytest.mark.parametrize("kind", ["forget_before", "break_before"])
@pytest.mark.parametrize("number", [1, 5, 19])
async def test_a_lost_sequence_is_replayed_without_a_trace(client, triton, kind, number):
    getattr(triton, kind).add(number)
    events = await recognise(client, [chunk(level) for level in range(1, 20)] + [chunk(20)[:100]])
    assert [event.text for event in events] == [words(*range(1, n + 1)) for n in range(1, 21)]
    assert type(events[-1]) is Final
    assert len(triton.sequences) == len(set(triton.sequences)) == 2
    assert sum(end for _, _, _, end in triton.requests) <= 2
    for name in triton.sequences:  # the END of the old one may come after the START of the new one
        ends = [end for sequence, _, _, end in triton.requests if sequence == name]
        assert not any(ends[:-1]), "a chunk was sent to a sequence after its END"


async def test_audio_that_was_damaged_on_its_way_is_sent_again(client, triton):
    damaged = "AUDIO arrived damaged: its CRC-32 is not what parameter audio_crc32 says; send it again"
    triton.fail_at[5] = damaged
    events = await recognise(client, [chunk(level) for level in range(1, 20)])
    assert [event.text for event in events] == [words(*range(1, n + 1)) for n in [*range(1, 20), 19]]
    triton.fail_at[len(triton.requests)] = damaged
    assert (await client.transcribe(chunk(5))).text == "w5"


@pytest.mark.parametrize(("losses", "most_secs"), [(1, 0.0), (2, 1.0), (3, 2.0), (9, 2.0)])
async def test_audio_that_was_damaged_again_waits_before_it_meets_the_same_line(losses, most_secs):
    waits = []

    class Ready:
        """One server that answers."""

        fresh = True

        async def pause(self, seconds):
            waits.append(seconds)

    for count in range(1, 101):

        async def arrive(count=count):
            if len(waits) < count:
                raise AudioDamaged("AUDIO arrived damaged")

        await for_streams(Ready(), 10.0, losses)(arrive)
    assert len(waits) == 100
    assert 0.5 * most_secs <= max(waits) <= most_secs


DAMAGED_NAME = "sequenge_end comes too late; allowed only with START"


async def test_what_the_library_wrote_and_a_server_refuses_is_sent_once_more(client, triton):
    triton.fail_at[5] = DAMAGED_NAME
    events = await recognise(client, [chunk(level) for level in range(1, 20)])
    assert [event.text for event in events] == [words(*range(1, n + 1)) for n in [*range(1, 20), 19]]
    assert len(triton.sequences) == 2
    triton.fail_at[len(triton.requests)] = "unexpected inference input 'AUDHO' for model 'asr_batch'"
    assert (await client.transcribe(chunk(5))).text == "w5"


async def test_an_unknown_name_is_not_taken_for_an_option_that_is_known(client, triton):
    triton.fail_at[0] = "unknown parameter 'beam_sizd'; known: beam_size, n_best"
    assert (await recognise(client, [chunk(level) for level in range(1, 20)]))[-1].text == words(*range(1, 20))


@pytest.mark.parametrize("first", [0, 5])
async def test_what_is_refused_twice_is_no_damage(client, triton, first):
    triton.fail_at |= dict.fromkeys(range(first, 1000), DAMAGED_NAME)
    with pytest.raises(ServerError, match=f"^{DAMAGED_NAME}$") as caught:
        await recognise(client, [chunk(level) for level in range(1, 20)])
    assert len(triton.sequences) == 2
    assert caught.value.partial is None if first == 0 else caught.value.partial.text == words(*range(1, first + 1))


@pytest.mark.parametrize(
    "refusal",
    [
        "beam_size is 99; allowed: whole numbers 1 to 16",
        "parameter vad_threshold is 7; allowed: a number from 0.01 to 0.99",
        "phrases[3] is ''; allowed: a text",
        "unknown parameter 'lm_weight'; known: beam_size, n_best",
        "stream has 60.5 s of audio; allowed: up to 60 s (max_stream_secs)",
        "request parameters have 70000 bytes; allowed: up to 65536 (max_parameter_bytes)",
    ],
)
async def test_what_the_caller_chose_and_a_server_refuses_is_raised_at_once(client, triton, refusal):
    triton.fail_at[0] = refusal
    with pytest.raises(InvalidRequest) as caught:
        await recognise(client, [chunk(level) for level in range(1, 20)])
    assert str(caught.value) == refusal
    assert len(triton.sequences) == 1
    triton.fail_at[len(triton.requests)] = refusal
    before = len(triton.requests)
    with pytest.raises(InvalidRequest):
        await client.transcribe(chunk(5))
    assert len(triton.requests) == before + 1


async def test_two_losses_apart_are_survived(client, triton):
    triton.forget_before |= {5, 30}
    events = await recognise(client, [chunk(level) for level in range(1, 30)])
    assert events[-1].text == words(*range(1, 30))
    assert len(triton.sequences) == 3


async def test_a_loss_again_at_the_same_place_is_raised(client, triton):
    triton.forget_before |= set(range(5, 100))
    with pytest.raises(SequenceLost) as caught:
        await recognise(client, [chunk(level) for level in range(1, 30)])
    assert caught.value.partial.text == words(1, 2, 3, 4, 5)
    assert len(triton.sequences) == 4


async def test_a_long_stream_is_replayed_from_a_pause(triton):
    settings = Settings(triton_endpoint="x:1", resume_audio_secs=30)  # 300 chunks
    levels = [0 if n % 10 in (0, 1, 2) else n for n in range(1, 501)]
    triton.forget_before.add(490)
    async with serving(triton) as endpoint:
        client = AsyncAsrClient(settings.model_copy(update={"triton_endpoint": endpoint}))
        events = await recognise(client, [chunk(level) for level in levels])
        await client.close()
    spoken = [level for level in levels if level]
    assert events[-1].text == words(*spoken)
    assert [round(word.start_secs * 10) + 1 for word in events[-1].words] == spoken
    assert [token.id for token in events[-1].tokens] == spoken
    assert events[-1].audio_secs == pytest.approx(50.1)
    assert 491 < len(triton.requests) < 820, "the whole stream was sent again"
    partials = [event.text for event in events[:-1]]
    assert partials == sorted(partials, key=len)
    assert [segment.text for segment in events[-1].segments] == [words(*spoken)]


async def test_a_server_that_restarts_meanwhile_is_waited_for(triton):
    restarted = asyncio.Event()

    async def audio():
        for level in range(1, 20):
            yield chunk(level)
            if level == 10:
                await restarted.wait()

    async with serving(triton) as endpoint:
        client = AsyncAsrClient(Settings(triton_endpoint=endpoint, inference_timeout_secs=5))
        task = asyncio.ensure_future(recognise(client, audio()))
        await eventually(lambda: len(triton.requests) == 10)
    triton.heard.clear()
    await asyncio.sleep(0.5)
    async with serving(triton, endpoint):
        restarted.set()
        assert (await task)[-1].text == words(*range(1, 20))
        await client.close()


async def test_another_model_cannot_go_on(client, triton):
    triton.break_before.add(4)
    events = client.stream([chunk(level) for level in range(1, 20)])
    await anext(events)
    triton.chunk_samples = CHUNK * 2
    with pytest.raises(ServerError, match="has changed: begin the stream anew") as caught:
        async for _ in events:
            pass
    assert caught.value.partial.text == words(1, 2, 3, 4)


async def test_after_an_error_what_was_recognised_is_collected(client, triton):
    triton.fail_at[5] = "AUDIO[3] is nan; every sample must be a finite number in [-1, 1]"
    events = []
    with pytest.raises(InvalidAudio, match=r"^AUDIO\[3\] is nan") as caught:
        async for event in client.stream([chunk(level) for level in range(1, 20)]):
            events.append(event)  # noqa: PERF401  those before the error, too
    assert caught.value.partial.text == words(1, 2, 3, 4, 5)
    assert [event.text for event in events] == [words(*range(1, n + 1)) for n in range(1, 6)]
    assert triton.requests[-1][3], "END was not sent"
    assert not triton.heard


async def test_an_error_of_the_audio_is_raised_after_what_was_heard(client, triton):
    def audio():
        yield chunk(1)
        yield chunk(2)
        raise OSError("the microphone is gone")

    events = []
    with pytest.raises(OSError, match="the microphone is gone"):
        async for event in client.stream(audio()):
            events.append(event.text)  # noqa: PERF401  those before the error, too
    assert events == ["w1", "w1 w2"]
    assert not triton.heard


async def test_wrong_buffers_are_refused(client, triton):
    for bad in (["text"], [np.zeros((2, 2), np.float32)], "talk.mp3"):
        with pytest.raises(InvalidAudio, match="an audio"):
            await recognise(client, bad)
    assert not triton.heard


async def test_leaving_early_ends_the_sequence(client, triton):
    async for _ in client.stream(chunk(level) for level in range(1, 1000)):
        break
    await eventually(lambda: not triton.heard and not triton.streams_open)
    assert triton.requests[-1][3]


async def test_cancelling_ends_the_sequence(client, triton):
    async def silence():
        yield chunk(1)
        await asyncio.sleep(100)

    task = asyncio.ensure_future(recognise(client, silence()))
    await eventually(lambda: triton.heard)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not triton.heard
    assert triton.requests[-1][3]


async def test_no_answer_within_the_deadline(client, triton):
    events = client.stream([chunk(level) for level in range(1, 20)])
    await anext(events)
    triton.answering.clear()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="did not answer within 1 s") as caught:
        async for _ in events:
            pass
    assert TIMEOUT_SECS <= time.monotonic() - began < TIMEOUT_SECS + 1.5
    assert caught.value.partial.text.startswith("w1")


async def test_a_late_server_still_gets_the_end(client, triton):
    events = client.stream([chunk(level) for level in range(1, 20)])
    await anext(events)
    triton.answering.clear()
    asyncio.get_running_loop().call_later(TIMEOUT_SECS + 0.3, triton.answering.set)
    with pytest.raises(DeadlineExceeded) as caught:
        async for _ in events:
            pass
    assert not triton.heard
    assert len(caught.value.partial.tokens) > 3


async def test_no_audio_is_an_empty_final(client):
    events = await recognise(client, [])
    assert [(type(event), event.text) for event in events] == [(Final, "")]


async def test_no_server():
    async with AsyncAsrClient(Settings(triton_endpoint="127.0.0.1:9")) as client:
        with pytest.raises(ServerUnavailable, match=r"no server at 127.0.0.1:9"):
            await recognise(client, [chunk(1)])
        assert not await client.is_ready()


async def test_many_streams_do_not_mix(triton):
    async def one(client, first):
        levels = range(first, first + 25)
        events = await recognise(client, [chunk(level) for level in levels])
        return events[-1].text == words(*levels)

    async with serving(triton) as endpoint, AsyncAsrClient(Settings(triton_endpoint=endpoint)) as client:
        assert all(await asyncio.gather(*(one(client, first) for first in range(1, 700, 35))))
    assert len(set(triton.sequences)) == 20


async def test_models(client):
    streaming = {model.name: model.streaming for model in await client.models()}
    assert streaming == {"asr_batch": False, "asr_streaming": True}


async def test_a_long_recording_that_fails_midway_keeps_what_was_before(client, triton):
    audio = np.concatenate([chunk(level) if level % 20 else np.zeros(CHUNK, np.float32) for level in range(1, 60)])
    triton.fail_at |= {2: "something broke", 3: "something broke"}
    with pytest.raises(ServerError, match="something broke") as caught:
        await client.transcribe(audio)
    heard = [token.id for token in caught.value.partial.tokens]
    assert len(heard) > 15
    assert heard == sorted(heard)
    triton.fail_at.clear()
    final = await client.transcribe(audio)
    starts = [word.start_secs for word in final.words]
    assert starts == sorted(starts)


async def eventually(condition):
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not happen within 2 s")
