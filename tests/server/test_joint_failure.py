"""A model that the decoder calls fails: only the streams that are in the call are lost, with their text kept."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tritonclient.utils import InferenceServerException

from scripts.serving.staging import RepositorySettings
from tests.conftest import start_server
from tests.server.streams import Streams, chunks_of, new_id
from tests.server.stubs import stub_of

# What a stream asks for so that its search calls this model.
PARAMETERS = {"decoder_greedy": None, "decoder_joint": {"beam_size": 4}}


@pytest.fixture(scope="module")
def own_server(tmp_path_factory):
    """A server that may be broken. Chunks wait for each other, so that streams share the batches of the decoder."""
    settings = RepositorySettings(batch_window_ms=50)
    with start_server(tmp_path_factory.mktemp("joint-failure"), settings) as server:
        yield server


def kill(server, model):
    """End the process of a model, as the kernel does that runs out of memory."""
    stub_of(server.pid, model).kill()


def reload(server, model):
    """Put a model into order again, in the server that runs."""
    server.http.unload_model(model)
    deadline = time.monotonic() + 30
    while server.http.model_states().get(model) == "READY":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    server.http.load_model(model)


@pytest.fixture(scope="module")
def expected(own_server, speech):
    """The tokens of streams that nothing disturbs, by the model that their search calls."""
    streams, found = Streams(own_server.grpc_endpoint), {}
    for model, parameters in PARAMETERS.items():
        stream, [*body, last] = new_id(), chunks_of(speech)
        for index, chunk in enumerate(body):
            streams.send(stream, chunk, start=index == 0, parameters=None if index else parameters)
        found[model] = streams.send(stream, last, end=True).tokens
        assert found[model]
    return found


@pytest.mark.parametrize("broken", PARAMETERS)
def test_only_the_streams_in_the_call_are_lost(own_server, speech, expected, broken):
    [whole] = PARAMETERS.keys() - {broken}
    parameters = PARAMETERS[broken]
    streams, chunks = Streams(own_server.grpc_endpoint), chunks_of(speech)
    caught, other_caught, spared, beside = (new_id() for _ in range(4))
    # The stream beside them is searched by the model that stays whole, in the same batches of the decoder.
    wanted = dict.fromkeys((caught, other_caught, spared), parameters) | {beside: PARAMETERS[whole]}
    with ThreadPoolExecutor(len(wanted)) as pool:

        def send_to(names, index):
            """Send a chunk of each stream at once; return what came back of each, errors included."""
            calls = {
                name: pool.submit(
                    streams.send, name, chunks[index], start=index == 0, parameters=None if index else wanted[name]
                )
                for name in names
            }
            return {name: call.exception() or call.result() for name, call in calls.items()}

        for index in range(len(chunks) - 2):
            before = send_to(wanted, index)
        assert before[caught].tokens

        kill(own_server, broken)
        during = send_to((caught, other_caught, beside), len(chunks) - 2)
    for name in (caught, other_caught):
        assert isinstance(during[name], InferenceServerException)
        assert f"RuntimeError: {broken}: " in during[name].message()
        kept = streams.send(name, [], end=True)
        assert kept.is_final
        assert kept.tokens == before[name].tokens
    assert streams.send(beside, chunks[-1], end=True).tokens == expected[whole]

    reload(own_server, broken)
    streams.send(spared, chunks[-2])
    assert streams.send(spared, chunks[-1], end=True).tokens == expected[broken]
    again = new_id()
    for index, chunk in enumerate(chunks):
        after = streams.send(
            again, chunk, start=index == 0, end=index == len(chunks) - 1, parameters=None if index else parameters
        )
    assert after.tokens == expected[broken]
