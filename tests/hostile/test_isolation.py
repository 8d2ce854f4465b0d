"""Many known streams at once, in random order, while some of them break off, break the rules or share an ID."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import numpy as np
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from tests.hostile.conftest import LONG_RUN, counted
from tests.hostile.wire import Wire, chunk
from tests.hostile.witnesses import OPTIONS, tokens_by_chunk
from tests.server.streams import CHUNK, audio_input, chunks_of, new_id

STREAMS = 200 if LONG_RUN else 24
_ERRORS = {
    "nan": (np.full(CHUNK, np.nan), {}),
    "short": (np.zeros(5), {}),
    "late": (np.zeros(CHUNK), {"n_best": 2}),
    "vad": (np.zeros(CHUNK), {"vad_threshold": 0.1}),
}


async def _send(client, sequence_id, samples, *, start=False, end=False, parameters=None):
    result = await client.infer(
        "asr_streaming",
        audio_input(samples),
        sequence_id=sequence_id,
        sequence_start=start,
        sequence_end=end,
        parameters=parameters or None,
        client_timeout=60.0,
    )
    return result.as_numpy("TOKENS")[0].tolist(), int(result.as_numpy("STABLE_TOKENS")[0, 0])


async def _stream(client, rng, samples, options, expected):
    """Stream a recording and compare every answer. Half of the streams break a rule somewhere, and lose nothing."""
    sequence_id, pieces = new_id(), chunks_of(samples)
    wrong_at = rng.randrange(1, 2 * len(pieces))
    stable = 0
    for index, piece in enumerate(pieces):
        await asyncio.sleep(rng.uniform(0, 0.05))
        if index == wrong_at:
            audio, parameters = _ERRORS[rng.choice(sorted(_ERRORS))]
            try:
                await _send(client, sequence_id, audio, parameters=parameters)
            except InferenceServerException:
                pass
            else:
                raise AssertionError("the error was accepted")
            if rng.random() < 0.5:
                collected, _ = await _send(client, sequence_id, [], end=True)
                # A beam may still choose among the readings of its last words.
                assert collected[:stable] == expected[index - 1][:stable]
                assert options.get("beam_size") or collected == expected[index - 1]
            return "errors in known streams, nothing lost"
        found, stable = await _send(
            client,
            sequence_id,
            piece,
            start=index == 0,
            end=index == len(pieces) - 1,
            parameters=options if index == 0 else None,
        )
        assert found == expected[index]
    return "known streams to their end, every token as undisturbed"


async def test_interleaved_streams_keep_their_own_words(server, clips):
    wire = Wire(server.grpc_endpoint)
    work = [
        (clip.audio, options, tokens_by_chunk(wire, clip.audio, options)) for clip in clips[:2] for options in OPTIONS
    ]
    wire.close()
    rng = random.Random(6)
    client = aio.InferenceServerClient(server.grpc_endpoint)
    try:
        jobs = [_stream(client, random.Random(seed), *rng.choice(work)) for seed in range(STREAMS)]
        outcomes = await asyncio.gather(*jobs)
    finally:
        await client.close()
    counted.update(outcomes)
    assert len(set(outcomes)) == 2, "no stream had an error, or all had"


def test_two_clients_at_once_under_one_id(server, clips, witnesses):
    """Whatever their mixture gives, every request is answered, and others do not notice."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    shared = new_id()
    wires = [Wire(server.grpc_endpoint) for _ in range(4)]
    pieces = chunks_of(clips[0].audio)

    def talk(number):
        rng = random.Random(number)
        for _ in range(30):
            call = chunk(shared, rng.choice(pieces[:-1]), start=rng.random() < 0.3, end=rng.random() < 0.2)
            if rng.random() < 0.2:
                call = replace(call, inputs=chunk(shared, np.full(CHUNK, np.inf)).inputs)
            answer = wires[number].send(call)
            assert answer.ok or answer.status == "INVALID_ARGUMENT", (answer.status, answer.text)
            counted["requests of four clients under one ID"] += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(talk, range(4)))
    wires[0].send(chunk(shared, [], end=True))
    for wire in wires:
        wire.close()
    assert witnesses.complaints == []
