"""Inference over HTTP where the operator has opened it: JSON and binary bodies gone wrong, while known streams run.

For `make fuzz`, since it needs a server of its own.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.serving.server import TritonServer
from scripts.serving.server_options import ServerOptions
from scripts.serving.staging import RepositorySettings, stage_repository
from tests.conftest import ROOT
from tests.hostile.conftest import LONG_RUN, counted, effort
from tests.hostile.mutations import calls
from tests.hostile.test_http import post
from tests.hostile.wire import DTYPES, Call
from tests.hostile.witnesses import Witnesses

pytestmark = pytest.mark.skipif(not LONG_RUN, reason="needs a server of its own: run `make fuzz`")


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open")
    stage_repository(ROOT / "model-repo", folder / "model-repo", RepositorySettings())
    with TritonServer(
        ServerOptions(folder / "model-repo", folder, open_interfaces=frozenset({"http-inference"}))
    ) as running:
        yield running


def _parameters(call: Call) -> dict[str, object]:
    controls = {"sequence_id": call.sequence_id, "sequence_start": call.start, "sequence_end": True}
    values = {**dict(call.parameters), **(controls if call.sequence_id is not None else {})}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def _body(call: Call, *, binary: bool) -> tuple[bytes, dict[str, str]]:
    """Return a body and its headers."""
    inputs = []
    for tensor in call.inputs:
        entry: dict[str, object] = {"name": tensor.name, "datatype": tensor.dtype, "shape": tensor.shape}
        if binary:
            entry["parameters"] = {"binary_data_size": len(tensor.data)}
        elif tensor.dtype in DTYPES:
            size = np.dtype(DTYPES[tensor.dtype]).itemsize
            numbers = np.frombuffer(tensor.data[: len(tensor.data) // size * size], DTYPES[tensor.dtype])
            entry["data"] = numbers.tolist()
        else:
            entry["data"] = ["x"]
        inputs.append(entry)
    document = {"inputs": inputs, "parameters": _parameters(call), "outputs": [{"name": name} for name in call.outputs]}
    head = json.dumps(document).encode()
    if not binary:
        return head, {}
    return head + b"".join(tensor.data for tensor in call.inputs), {"Inference-Header-Content-Length": str(len(head))}


def test_bodies_gone_wrong(open_server, clips):
    with Witnesses(open_server.grpc_endpoint, [clip.audio for clip in clips]) as witnesses:

        @effort(short=1, share=0.5)
        @given(calls(), st.booleans(), st.integers(0, 20), st.binary(max_size=20))
        def property_(call, binary, cut, tail):
            counted["requests gone wrong, over HTTP where it is open"] += 1
            if any(char in call.model for char in "/?#% \r\n\0") or not call.model.isascii():
                return
            body, headers = _body(call, binary=binary)
            body = (body[: len(body) - cut] if cut < 10 else body) + (tail if cut == 20 else b"")
            status, _ = post(open_server, f"/v2/models/{call.model}/infer", body, headers)
            assert 200 <= status < 600
            assert witnesses.complaints == []

        property_()
    assert open_server.is_ready()
    assert witnesses.complaints == []
