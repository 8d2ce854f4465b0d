"""Requests that Triton 2.51 itself does not survive. They are kept out of the other tests, and of untrusted hands.

A test here fails when its defect is gone: then take it out of `mutations.py`, of the launcher and of
docs/hostile-input.md. Each needs a server of its own, so they run with `make fuzz` only.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from scripts.serving.server import TritonServer
from scripts.serving.server_options import ServerOptions
from scripts.serving.staging import RepositorySettings, stage_repository
from tests.conftest import ROOT
from tests.hostile.conftest import LONG_RUN
from tests.hostile.test_http import OVERFLOW, in_pieces, post
from tests.hostile.wire import Tensor, Wire, chunk, honest_calls
from tests.server.streams import CHUNK, new_id

pytestmark = pytest.mark.skipif(not LONG_RUN, reason="each needs a server of its own: run `make fuzz`")


@pytest.fixture
def doomed(tmp_path):
    """A server that is going to die, with HTTP inference open."""
    stage_repository(ROOT / "model-repo", tmp_path / "model-repo", RepositorySettings())
    options = ServerOptions(tmp_path / "model-repo", tmp_path, open_interfaces=frozenset({"http-inference"}))
    with TritonServer(options) as running:
        yield running


def dies(server) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if server._process.poll() is not None:
            return True
        time.sleep(0.1)
    return False


def test_a_classification_of_text_ends_the_server(doomed):
    """Division by the size of a string's element, which Triton has as 0."""
    request = chunk(new_id(), np.zeros(CHUNK), start=True, end=True).message()
    request.outputs.add(name="TRANSCRIPT").parameters["classification"].int64_param = 1
    wire = Wire(doomed.grpc_endpoint)
    with pytest.raises(Exception, match="UNAVAILABLE"):
        wire._stub.ModelInfer(request, timeout=20)
    assert dies(doomed)


def test_a_shape_whose_size_overflows_ends_a_backend(doomed):
    """Triton computes 2^62 floats as 0 bytes, and NumPy's refusal ends the process of the model."""
    wire = Wire(doomed.grpc_endpoint)
    overflow = replace(chunk(new_id(), [], start=True, end=True), inputs=(Tensor("AUDIO", "FP32", (1, 2**62), b""),))
    wire.send(overflow)
    answer = wire.send(chunk(new_id(), [], start=True, end=True))
    assert (answer.status, "is not healthy" in answer.text) == ("INTERNAL", True)


def test_the_same_over_http_ends_the_server(doomed):
    with pytest.raises(OSError, match=r"closed connection|reset"):
        post(doomed, "/v2/models/asr_streaming/infer", OVERFLOW, {})
    assert dies(doomed)


def test_a_body_of_very_many_pieces_ends_the_server(doomed):
    """Its list of pieces is on the stack, which is too small for them."""
    assert in_pieces(doomed, 600_000) == b""
    assert dies(doomed)


def test_a_batch_of_nothing_is_not_answered(doomed):
    """Triton's batcher waits for a request of zero rows to become larger."""
    wire = Wire(doomed.grpc_endpoint)
    nothing = replace(honest_calls("")["vad"], inputs=(Tensor("AUDIO", "FP32", (0, 0), b""),))
    assert wire.send(nothing, timeout=3).status == "DEADLINE_EXCEEDED"
    assert wire.send(honest_calls("")["vad"]).ok
