"""What HTTP offers: health and metadata. Inference over HTTP is closed, since one request could end the server."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile.conftest import counted, effort

# This one ends Triton 2.51 where HTTP inference is open.
OVERFLOW = json.dumps({"inputs": [{"name": "AUDIO", "shape": [1, 2**62], "datatype": "FP32", "data": [1]}]})
_CLOSED = [
    "/v2/models/asr_streaming/infer",
    "/v2/models/asr_streaming/versions/1/infer",
    "/v2/models/asr_batch/generate",
    "/v2/models/vad/generate_stream",
    "/v2/systemsharedmemory/region/x/register",
    "/v2/cudasharedmemory/region/x/register",
    "/v2/systemsharedmemory/unregister",
    "/v2/repository/index",
    "/v2/repository/models/vad/unload",
    "/v2/models/asr_streaming/stats",
    "/v2/logging",
    "/v2/trace/setting",
    "/v2/models/vad/trace/setting",
]


def post(server, path, body, headers):
    connection = http.client.HTTPConnection(server.options.host, server.http_port, timeout=20)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def in_pieces(server, count):
    """Send a body of many pieces of one byte; return how the answer begins, nothing when the connection is cut."""
    head = f"POST {_CLOSED[0]} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with socket.create_connection((server.options.host, server.http_port), timeout=60) as connection:
        with contextlib.suppress(ConnectionError):  # the server may answer, and hang up, before it has read all
            connection.sendall(head + b"1\r\n[\r\n" * count + b"0\r\n\r\n")
        try:
            return connection.recv(100)
        except ConnectionError:
            return b""


@pytest.mark.parametrize("path", _CLOSED)
def test_what_clients_do_not_need_is_closed(server, path):
    status, text = post(server, path, OVERFLOW, {})
    assert status == 403, text
    assert b"restricted" in text


def test_a_body_of_very_many_pieces_does_no_harm(server):
    assert b"403" in in_pieces(server, 600_000)
    assert server.is_ready()


def test_health_and_metadata_are_open(server):
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/asr_streaming", "/v2/models/asr_streaming/config"):
        with urllib.request.urlopen(f"http://{server.options.host}:{server.http_port}{path}", timeout=10) as response:
            assert response.status == 200


def test_bodies_of_any_kind_are_refused(server, witnesses):
    bodies = st.binary(max_size=2000) | st.sampled_from([OVERFLOW.encode(), b"[" * 500_000, b"\x1f\x8b" * 100])
    headers = st.fixed_dictionaries(
        {},
        optional={
            "Inference-Header-Content-Length": st.sampled_from(["0", "-1", "abc", "9" * 30, "10"]),
            "Content-Encoding": st.sampled_from(["gzip", "deflate", "br"]),
            "Content-Type": st.sampled_from(["application/json", "application/octet-stream", ""]),
            "amira-operator": st.text("abc123-_", max_size=50),
        },
    )

    @effort(short=40, share=0.2)
    @given(st.sampled_from(_CLOSED), bodies, headers, st.booleans())
    def property_(path, body, fields, chunked):
        counted["requests gone wrong, over HTTP"] += 1
        # An iterable is sent in pieces of unknown number ("chunked").
        status, _ = post(server, path, iter([body[:7], body[7:]]) if chunked and len(body) > 7 else body, fields)
        assert status == 403
        assert witnesses.complaints == []

    property_()
    assert server.is_ready()
