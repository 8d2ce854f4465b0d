"""What the server refuses at once, so that those inside are served; on the real server."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from common.parameters import IDLE_MARGIN_SECS
from tests.hostile.wire import Wire, honest_calls
from tests.server.conftest import IDLE_SECS, LIMITS, MAX_STREAMS
from tests.server.streams import CHUNK, Streams, chunks_of, new_id
from tests.server.stubs import stub_of

UNAVAILABLE = "StatusCode.UNAVAILABLE"
SILENCE = np.zeros(CHUNK)


@pytest.fixture
def streams(strict_server):
    """A client with a key of its own, so that tests do not use up each other's rate."""
    return Streams(strict_server.grpc_endpoint, client_key=new_id())


def refused(call, match, status=UNAVAILABLE):
    """Assert that a call is refused at once."""
    began = time.monotonic()
    with pytest.raises(InferenceServerException, match=match) as error:
        call()
    assert error.value.status() == status
    assert time.monotonic() - began < 2.0


def test_a_full_server_says_so_at_once_and_serves_those_inside(strict_server, speech):
    streams = Streams(strict_server.grpc_endpoint, client_key=new_id())
    others = Streams(strict_server.grpc_endpoint, client_key=new_id())
    expected = streams.stream(speech)[-1]
    inside = {new_id(): client for client in (streams, others) for _ in range(MAX_STREAMS // 2)}
    chunks = chunks_of(speech)
    for sequence_id, client in inside.items():
        client.send(sequence_id, chunks[0], start=True)
    third = Streams(strict_server.grpc_endpoint, client_key=new_id())
    for chunk in chunks[1:-1]:  # by turns, so that none is idle for long
        for sequence_id, client in inside.items():
            client.send(sequence_id, chunk)
        for _ in range(2):  # a START that is refused, and never ended, takes nothing of what Triton has
            refused(
                lambda: third.send(new_id(), chunks[0], start=True),
                f"server full: {MAX_STREAMS} of {MAX_STREAMS} streams are in use",
            )
    finals = [client.send(sequence_id, chunks[-1], end=True) for sequence_id, client in inside.items()]
    assert all(final.tokens == expected.tokens for final in finals)
    streams.stream(speech)


def test_a_client_has_so_many_streams_and_others_have_theirs(strict_server, streams):
    inside = [new_id() for _ in range(LIMITS.max_streams_per_client)]
    for sequence_id in inside:
        streams.send(sequence_id, SILENCE, start=True)
    refused(lambda: streams.send(new_id(), SILENCE, start=True), "rate limited: client '.*' has 2 of 2 streams")
    streams.send(inside[0], SILENCE, start=True)  # begins anew
    others = Streams(strict_server.grpc_endpoint, client_key=new_id())
    others.send(new_id(), SILENCE, start=True, end=True)
    for sequence_id in inside:
        streams.send(sequence_id, SILENCE, end=True)


def test_a_client_starts_so_often_and_its_running_stream_goes_on(streams):
    sequence_id, admitted = new_id(), int(LIMITS.rate_limit.split("/")[0])
    streams.send(sequence_id, SILENCE, start=True)
    for _ in range(admitted - 1):
        streams.send(new_id(), [], start=True, end=True)
        streams.send(sequence_id, SILENCE)
    refused(
        lambda: streams.send(new_id(), SILENCE, start=True),
        r"rate limited: client '.*' may start 40 in 3600 s; try again in \d+ s",
    )
    assert streams.send(sequence_id, SILENCE, end=True).is_final


def test_a_stream_ends_where_it_is_too_long_with_its_text(streams, speech):
    sequence_id = new_id()
    chunks = chunks_of(np.resize(speech, 73 * 16000))
    allowed = int(LIMITS.max_stream_secs * 16000) // CHUNK
    for index, chunk in enumerate(chunks[:allowed]):
        before = streams.send(sequence_id, chunk, start=index == 0)
    refused(
        lambda: streams.send(sequence_id, chunks[allowed]),
        r"stream has 72\.24 s of audio; allowed: up to 72 s \(max_stream_secs\)",
        "StatusCode.INVALID_ARGUMENT",
    )
    final = streams.send(sequence_id, [], end=True)
    assert final.tokens == before.tokens
    assert final.tokens


def test_parameters_are_so_long(streams):
    refused(
        lambda: streams.send(new_id(), SILENCE, start=True, parameters={"phrases": "x" * 2000}),
        r"request parameters have \d+ bytes; allowed: up to 2000 \(max_parameter_bytes\)",
        "StatusCode.INVALID_ARGUMENT",
    )


def test_utterances_inside_are_so_many_and_are_answered(streams, speech):
    expected = streams.batch(speech).tokens
    answers, errors = [], []

    def send():
        try:
            answers.append(streams.batch(speech))
        except InferenceServerException as error:
            errors.append(error)

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) >= LIMITS.max_concurrent_batches
    assert all(answer.tokens == expected for answer in answers)
    assert errors
    assert {error.status() for error in errors} == {UNAVAILABLE}
    assert "server full: 3 of 3 utterances are inside (max_concurrent_batches)" in {
        error.message().removeprefix("in ensemble 'asr_batch', ").removesuffix("; try again later") for error in errors
    }
    assert streams.batch(speech).tokens == expected  # the places are free again


@contextmanager
def frozen(server, model):
    """Let a model's process stand still, so that what reaches it is answered late for sure."""
    stub = stub_of(server.pid, model)
    stub.suspend()
    try:
        yield
    finally:
        stub.resume()


def test_utterances_whose_callers_gave_up_hold_no_place_when_later_ones_are_answered(strict_server, streams, speech):
    for _ in range(LIMITS.max_concurrent_batches + 2):
        with (
            frozen(strict_server, "encoder_batch"),
            pytest.raises(InferenceServerException, match="Deadline Exceeded"),
        ):
            streams.batch(speech, timeout=0.3, request_id=new_id())
        assert streams.batch(speech[:16000], request_id=new_id()).is_final


def test_an_overloaded_server_refuses_what_is_new_until_it_is_not(strict_server, streams):
    sequence_id = new_id()
    streams.send(sequence_id, SILENCE, start=True)
    overloaded = strict_server.options.runtime_folder / "overloaded"
    overloaded.write_text("500 of 400")
    try:
        refused(lambda: streams.send(new_id(), SILENCE, start=True), "server overloaded: 500 of 400 requests wait")
        refused(lambda: streams.batch(SILENCE), "server overloaded")
        streams.send(sequence_id, SILENCE)  # in real time
        with pytest.raises(InferenceServerException, match=r"ahead of real time while 500 of 400 requests wait in"):
            for _ in range(150):
                streams.send(sequence_id, SILENCE)
        assert streams.send(sequence_id, [], end=True).is_final
    finally:
        overloaded.unlink()
    streams.send(new_id(), [], start=True, end=True)


def test_who_fills_an_inner_step_lets_nobody_wait_in_silence(strict_server):
    """Its places come back by age."""
    wire = Wire(strict_server.grpc_endpoint)
    direct, whole = honest_calls("")["decoder"], honest_calls("")["asr_streaming"]
    for number in range(2 * MAX_STREAMS + 1):
        answer = wire.send(replace(direct, sequence_id=new_id(), end=False))
        assert answer.ok == (number < 2 * MAX_STREAMS), answer
    began = time.monotonic()
    refused = wire.send(replace(whole, sequence_id=new_id()))
    assert (refused.status, "server full" in refused.text) == ("UNAVAILABLE", True)
    assert time.monotonic() - began < 5
    deadline = began + IDLE_SECS + IDLE_MARGIN_SECS + 20
    while not wire.send(replace(whole, sequence_id=new_id())).ok:
        assert time.monotonic() < deadline
        time.sleep(1)
    wire.close()
