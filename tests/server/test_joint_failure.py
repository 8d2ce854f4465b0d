"""The model that the decoder calls fails: only the streams that were being decoded are lost, with their text kept."""

from __future__ import annotations

import time

import psutil
import pytest
from tritonclient.utils import InferenceServerException

from scripts.serving.staging import RepositorySettings
from tests.conftest import start_server
from tests.server.streams import Streams, chunks_of, new_id

JOINT = "decoder_greedy"


def test_a_dead_joint_fails_the_streams_in_its_call_and_no_other(tmp_path, speech):
    with start_server(tmp_path, RepositorySettings()) as server:
        streams, chunks = Streams(server.grpc_endpoint), chunks_of(speech)
        expected = streams.stream(speech)[-1].tokens
        caught, spared = new_id(), new_id()
        for index, chunk in enumerate(chunks[:-2]):
            before = streams.send(caught, chunk, start=index == 0)
            streams.send(spared, chunk, start=index == 0)
        assert before.tokens
        [stub] = [p for p in psutil.Process(server.pid).children() if f"{JOINT}_0_0" in p.cmdline()]
        stub.kill()
        with pytest.raises(InferenceServerException, match=f"RuntimeError: {JOINT}: "):
            streams.send(caught, chunks[-2])
        collected = streams.send(caught, [], end=True)
        assert collected.is_final
        assert collected.tokens == before.tokens

        server.http.unload_model(JOINT)
        deadline = time.monotonic() + 30
        while server.http.model_states().get(JOINT) == "READY":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        server.http.load_model(JOINT)
        streams.send(spared, chunks[-2])
        assert streams.send(spared, chunks[-1], end=True).tokens == expected
        assert streams.stream(speech)[-1].tokens == expected
