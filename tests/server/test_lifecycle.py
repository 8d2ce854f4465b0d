"""What happens to a sequence when its client does not do what it should, and to the others meanwhile."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from tests.server.conftest import IDLE_SECS, MAX_STREAMS
from tests.server.streams import CHUNK, Streams, audio_input, chunks_of, new_id


@pytest.fixture(scope="module")
def streams(server):
    return Streams(server.grpc_endpoint)


def test_responses_grow_and_the_last_is_final(streams, speech):
    responses = streams.stream(speech)
    assert [response.is_final for response in responses] == [False] * (len(responses) - 1) + [True]
    for before, after in itertools.pairwise(responses):
        assert after.tokens[: len(before.tokens)] == before.tokens
        assert after.audio_processed >= before.audio_processed
    final = responses[-1]
    assert len(final.tokens) == len(final.pieces) == len(final.times) == len(final.log_probs) > 0
    assert "".join(final.pieces).replace("▁", " ").strip() == final.text
    assert final.times == sorted(final.times)
    assert max(final.log_probs) <= 0.0


def test_start_of_a_live_id_forgets_everything_before(streams, speech):
    expected = streams.stream(speech)[-1]
    sequence_id = new_id()
    for index, chunk in enumerate(chunks_of(speech)[:3]):
        streams.send(sequence_id, chunk[::-1], start=index == 0)
    assert streams.stream(speech, sequence_id)[-1].tokens == expected.tokens


def test_an_empty_end_flushes_the_same_words(streams, speech):
    whole_chunks = speech[: len(speech) // CHUNK * CHUNK]
    expected = streams.stream(whole_chunks)[-1]
    sequence_id = new_id()
    for index, chunk in enumerate(chunks_of(whole_chunks)):
        streams.send(sequence_id, chunk, start=index == 0)
    final = streams.send(sequence_id, [], end=True)
    assert final.is_final
    assert final.tokens == expected.tokens


def test_a_stream_of_nothing_is_an_empty_transcript(streams):
    response = streams.send(new_id(), [], start=True, end=True)
    assert response.is_final
    assert (response.text, response.tokens, response.audio_processed) == ("", [], 0.0)


def test_a_stream_of_one_short_chunk(streams, speech):
    response = streams.send(new_id(), speech[:5000], start=True, end=True)
    assert response.is_final
    assert 5000 / 16000 <= response.audio_processed <= 5000 / 16000 + 0.1


def test_a_chunk_without_start_is_refused(streams):
    with pytest.raises(InferenceServerException, match="START"):
        streams.send(new_id(), np.zeros(CHUNK))


@pytest.mark.parametrize(
    ("audio", "parameters", "message"),
    [
        (np.zeros(CHUNK - 1), None, f"AUDIO has {CHUNK - 1} samples.*exactly {CHUNK}"),
        (np.zeros(0), None, f"AUDIO has 0 samples.*exactly {CHUNK}"),
        (np.zeros(2 * CHUNK), None, f"AUDIO has {2 * CHUNK} samples"),
        (np.full(CHUNK, np.nan), None, r"AUDIO\[0\] is nan"),
        (np.full(CHUNK, np.inf), None, r"AUDIO\[0\] is inf"),
        (np.full(CHUNK, 20000.0), None, r"peak of 20000"),
        (np.zeros(CHUNK), {"sample_rate": 8000}, "sample_rate is 8000; this model takes 16000"),
    ],
)
def test_a_bad_chunk_ends_its_stream_alone_and_loses_nothing(streams, speech, audio, parameters, message):
    chunks = chunks_of(speech)
    bad, good = new_id(), new_id()
    for index, chunk in enumerate(chunks[:4]):
        before = streams.send(bad, chunk, start=index == 0)
        streams.send(good, chunk, start=index == 0)
    with pytest.raises(InferenceServerException, match=message):
        streams.send(bad, audio, parameters=parameters)
    with pytest.raises(InferenceServerException, match="failed earlier"):
        streams.send(bad, chunks[4])
    collected = streams.send(bad, [], end=True)
    assert collected.is_final
    assert collected.tokens == before.tokens
    for index, chunk in enumerate(chunks[4:], 4):
        final = streams.send(good, chunk, end=index == len(chunks) - 1)
    assert final.tokens == streams.stream(speech)[-1].tokens


def test_a_wrong_dtype_is_refused_and_the_stream_goes_on(streams, speech):
    chunks = chunks_of(speech)
    sequence_id = new_id()
    streams.send(sequence_id, chunks[0], start=True)
    tensor = audio_input(chunks[1])[0]
    wrong = grpc.InferInput("AUDIO", tensor.shape(), "FP64")
    wrong.set_data_from_numpy(chunks[1].astype(np.float64)[None])
    with pytest.raises(InferenceServerException, match="FP64"):
        streams.client.infer("asr_streaming", [wrong], sequence_id=sequence_id)
    for index, chunk in enumerate(chunks[1:], 1):
        final = streams.send(sequence_id, chunk, end=index == len(chunks) - 1)
    assert final.tokens == streams.stream(speech)[-1].tokens


def test_batch_refuses_what_is_too_long_or_empty(streams):
    with pytest.raises(InferenceServerException, match=r"allowed: 1 to 480000 \(30 s\)"):
        streams.batch(np.zeros(480001))
    with pytest.raises(InferenceServerException, match="AUDIO has 0 samples"):
        streams.batch(np.zeros(0))


def test_an_abandoned_stream_expires_and_its_id_can_start_again(strict_server, speech):
    streams = Streams(strict_server.grpc_endpoint, client_key=new_id())
    expected = streams.stream(speech)[-1]
    chunks = chunks_of(speech)
    abandoned = [new_id() for _ in range(MAX_STREAMS)]
    for sequence_id in abandoned:
        Streams(strict_server.grpc_endpoint, client_key=sequence_id).send(sequence_id, chunks[0], start=True)
    deadline = time.monotonic() + IDLE_SECS + 15
    while True:  # places come back by age alone
        try:
            streams.stream(speech)
            break
        except InferenceServerException:
            assert time.monotonic() < deadline, "abandoned streams still hold their places"
            time.sleep(0.5)
    with pytest.raises(InferenceServerException, match="START"):
        streams.send(abandoned[0], chunks[1])
    assert streams.stream(speech, abandoned[0])[-1].tokens == expected.tokens
