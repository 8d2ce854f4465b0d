"""Streams with the voice activity gate: the same words a chunk later, and silence where there is only noise."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.server.streams import CHUNK, Streams, audio_input, chunks_of, new_id
from tests.server.test_vad import counters


@pytest.fixture(scope="module")
def streams(server):
    return Streams(server.grpc_endpoint)


def gated(streams, audio, **parameters):
    """The responses to a stream that asks for the gate."""
    sequence_id, pieces = new_id(), chunks_of(audio)
    last = len(pieces) - 1
    asked = {"vad_gate": True, **parameters}
    return [
        streams.send(sequence_id, p, start=i == 0, end=i == last, parameters=None if i else asked)
        for i, p in enumerate(pieces)
    ]


def noises():
    """Five seconds each of what a recogniser may take for speech."""
    random = np.random.default_rng(0)
    samples = 9 * CHUNK
    white = random.standard_normal(samples)
    frequencies = np.maximum(np.fft.rfftfreq(samples, 1 / 16000), 20)
    pink = np.fft.irfft(np.fft.rfft(white) * frequencies**-0.5, samples)
    swelling = pink * (1 + np.sin(2 * np.pi * 4 * np.arange(samples) / 16000))
    knocks = np.zeros(samples)
    for start in random.integers(0, samples - 2000, 30):
        knocks[start : start + 2000] += np.exp(-np.arange(2000) / 100) * random.standard_normal(2000)
    kinds = {"white": white, "pink": pink, "swelling": swelling, "knocks": knocks}
    return {name: np.clip(0.1 * noise / noise.std(), -1, 1).astype(np.float32) for name, noise in kinds.items()}


@pytest.mark.parametrize("kind", noises())
def test_noise_gives_no_tokens(server, streams, kind):
    before = counters(server, "preprocessor")
    responses = gated(streams, noises()[kind])
    assert not any(response.tokens for response in responses)
    assert responses[-1].is_final
    speech, audio = np.subtract(counters(server, "preprocessor"), before)
    assert speech == 0
    assert audio == pytest.approx(9 * CHUNK / 16000, abs=0.032)


def test_speech_gives_the_same_words_a_chunk_later(server, streams, clips):
    before = counters(server, "preprocessor")
    for clip in clips:
        plain, late = streams.stream(clip.audio), gated(streams, clip.audio)
        assert plain[-1].text
        assert late[0].tokens == []
        assert [response.tokens for response in late[1:-1]] == [response.tokens for response in plain[:-2]]
        assert (late[-1].tokens, late[-1].times) == (plain[-1].tokens, plain[-1].times)
        assert late[-1].audio_processed == plain[-1].audio_processed
    speech, audio = np.subtract(counters(server, "preprocessor"), before)
    assert audio == pytest.approx(sum(len(clip.audio) for clip in clips) / 16000, abs=0.032 * len(clips))
    assert 0.7 < speech / audio < 1


@pytest.mark.parametrize("samples", [1, 5000, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7841, 3 * CHUNK])
def test_end_brings_all_that_was_held_back(streams, speech, samples):
    audio = speech[8000 : 8000 + samples]
    plain, late = streams.stream(audio)[-1], gated(streams, audio)[-1]
    assert late.is_final
    assert (late.tokens, late.times, late.audio_processed) == (plain.tokens, plain.times, plain.audio_processed)


def test_an_empty_stream(streams):
    response = streams.send(new_id(), [], start=True, end=True, parameters={"vad_gate": True})
    assert (response.is_final, response.tokens, response.audio_processed) == (True, [], 0.0)


def test_speech_after_a_long_noise_is_recognised(streams, clips):
    noise = noises()["white"] * np.float32(0.05)
    final = gated(streams, np.concatenate([noise, clips[1].audio]))[-1]
    assert final.tokens
    assert final.times[0] > len(noise) / 16000 - 0.5


def test_streams_with_and_without_gate_share_batches(server, clips):
    expected = [Streams(server.grpc_endpoint).stream(clip.audio)[-1].tokens for clip in clips] * 4
    found = [None] * len(expected)

    def run(index):
        streams = Streams(server.grpc_endpoint)
        audio = clips[index % len(clips)].audio
        found[index] = (gated(streams, audio) if index % 2 else streams.stream(audio))[-1].tokens

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(expected))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == expected


def test_a_stream_without_gate_is_not_counted(server, streams, speech):
    before = counters(server, "preprocessor")
    streams.stream(speech)
    assert counters(server, "preprocessor") == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"vad_gate": "perhaps"}, "parameter vad_gate is 'perhaps'; allowed: true or false"),
        ({"vad_threshold": 1}, "parameter vad_threshold is 1; allowed: a number from 0.01 to 0.99"),
        ({"vad_hangover_ms": 100}, "parameter vad_hangover_ms is 100; allowed: a number from 300 to 10000"),
        ({"vad_gte": True}, "unknown parameter vad_gte; allowed: vad_gate, vad_threshold, vad_hangover_ms"),
    ],
)
def test_wrong_parameters_are_named(streams, speech, parameters, message):
    with pytest.raises(InferenceServerException, match=message):
        gated(streams, speech, **parameters)


def test_the_gate_cannot_come_later(streams, speech):
    sequence_id = new_id()
    streams.send(sequence_id, speech[:CHUNK], start=True)
    with pytest.raises(InferenceServerException, match="parameter vad_gate comes too late; allowed only with START"):
        streams.send(sequence_id, speech[CHUNK : 2 * CHUNK], parameters={"vad_gate": True})
    assert streams.send(sequence_id, [], end=True).is_final


def test_whole_utterances_have_no_gate(streams, speech):
    with pytest.raises(InferenceServerException, match="parameter vad_gate is for streams; whole utterances have no"):
        streams.client.infer("asr_batch", audio_input(speech), parameters={"vad_gate": True})
