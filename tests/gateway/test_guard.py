"""Keys, limits, request IDs, origins; health, metrics, and the end of a gateway."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from loadtest.chaos.fault_proxy import GOOD_LINE, FaultProxy, Line
from tests.conftest import ROOT
from tests.gateway.conftest import pcm, running_gateway
from tests.gateway.test_stream import END, rest

BATCH = "/v2/decode/batch/default"


def test_request_ids_come_back(http):
    assert http.get("/health", headers={"x-request-id": "call-7"}).headers["x-request-id"] == "call-7"
    made = http.get("/health", headers={"x-request-id": "bad id"}).headers["x-request-id"]
    assert len(made) == 32
    assert http.post(BATCH, content=b"").headers["x-request-id"]


def test_health(http, server):
    assert (http.get("/health").status_code, http.get("/health").json()) == (200, {"status": "healthy"})
    detail = http.get("/health/detailed").json()
    [model] = detail["models"]
    assert (model["name"], model["ready"], model["chunk_ms"], model["sample_rate"]) == ("default", True, 560.0, 16000)
    assert model["streaming"]["name"] == "asr_streaming"
    assert [(each["endpoint"], each["state"]) for each in model["circuits"]] == [(server.grpc_endpoint, "closed")]
    assert detail["triton"]["endpoint"] == server.grpc_endpoint
    assert detail["streams"] == {"active": 0, "limit": 256}


def test_metrics_count_routes_and_not_paths(http, clips):
    http.post(BATCH, content=pcm(clips[1].audio))
    http.get("/nonsense/12345")
    text = http.get("/metrics").text
    wanted = 'amira_gateway_requests_total{method="POST",route="/v2/decode/batch/{model}",status="200"}'
    assert wanted in text
    assert "nonsense" not in text
    assert 'amira_gateway_audio_seconds_total{kind="batch",model="default"}' in text


def test_callers_cannot_make_up_metrics_or_lines_of_the_log(http, caplog):
    caplog.set_level("INFO", "amira_gateway")
    assert http.request("MADEUP", "/health").status_code == 405
    assert http.get("/x%0Aforged line").status_code == 404
    assert "MADEUP" not in http.get("/metrics").text
    assert "GET /x%0Aforged%20line 404" in caplog.text


def test_keys_cannot_be_tried_faster_than_the_rate():
    settings = {"gateway_api_keys": "right", "gateway_rate_limit": "3/minute"}
    with running_gateway("127.0.0.1:9", **settings) as gateway, httpx.Client(base_url=gateway.url) as http:
        tried = [http.get("/v1/models", headers={"x-api-key": f"key {n}"}).status_code for n in range(5)]
        assert tried == [401, 401, 401, 429, 429]
        assert http.get("/v1/models", headers={"x-api-key": "right"}).status_code == 503  # no server, but let in


def test_api_keys(server, clips):
    with (
        running_gateway(server.grpc_endpoint, gateway_api_keys="one, two") as gateway,
        httpx.Client(base_url=gateway.url) as http,
    ):
        refused = http.post(BATCH, content=b"ab")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert http.get("/v1/models", headers={"authorization": "Bearer three"}).status_code == 401
        assert http.get("/v1/models", headers={"authorization": "Bearer two"}).status_code == 200
        assert http.get("/v1/models", headers={"x-api-key": "one"}).status_code == 200
        assert http.get("/health").status_code == 200

        async def stream(**given):
            async with connect(f"{gateway.websocket_url}/default", **given) as socket:
                await socket.send(END)
                return socket.subprotocol, (await rest(socket))[-1]["type"]

        encoded = base64.urlsafe_b64encode(b"two").decode().rstrip("=")
        from_page = ["amira", f"amira-key.{encoded}"]
        assert asyncio.run(stream(subprotocols=from_page)) == ("amira", "final")
        assert asyncio.run(stream(additional_headers={"X-API-Key": "one"})) == (None, "final")
        with pytest.raises(InvalidStatus) as caught:
            asyncio.run(stream())
        assert caught.value.response.status_code == 401


def test_limits(server, clips):
    limits = {"gateway_max_upload_mb": 0.05, "gateway_max_audio_secs": 1, "gateway_rate_limit": "6/minute"}
    with (
        running_gateway(server.grpc_endpoint, **limits) as gateway,
        httpx.Client(base_url=gateway.url) as http,
    ):
        large = http.post(BATCH, content=bytes(60_000))
        assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
        unannounced = http.post(BATCH, content=(bytes(10_000) for _ in range(6)))
        assert (unannounced.status_code, unannounced.json()["error"]["code"]) == (413, "too_large")
        form = http.post(
            "/v1/audio/transcriptions", files={"file": ("a.wav", bytes(60_000))}, data={"model": "default"}
        )
        assert (form.status_code, form.json()["error"]["code"]) == (413, "too_large")
        long = http.post(BATCH, content=bytes(40_000))
        assert (long.status_code, long.json()["error"]["code"]) == (413, "audio_too_long")
        answers = [http.get("/v1/models") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
        assert http.get("/health").status_code == 200


def test_other_origins_are_allowed_only_by_name(gateway, server):
    asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in httpx.options(f"{gateway.url}{BATCH}", headers=asked).headers
    with running_gateway(server.grpc_endpoint, gateway_cors_origins="https://app.example") as open_gateway:
        allowed = httpx.options(f"{open_gateway.url}{BATCH}", headers=asked).headers
        assert allowed["access-control-allow-origin"] == "https://app.example"

        async def stream():
            async with connect(f"{open_gateway.websocket_url}/default", origin="https://app.example") as socket:
                await socket.send(END)
                return (await rest(socket))[-1]["type"]

        assert asyncio.run(stream()) == "final"


def test_without_triton_the_answer_is_503_at_once(clips):
    with running_gateway("127.0.0.1:9") as gateway, httpx.Client(base_url=gateway.url) as http:
        began = time.monotonic()
        refused = http.post(BATCH, content=pcm(clips[1].audio))
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert "no server at 127.0.0.1:9" in refused.json()["error"]["message"]
        assert http.get("/health").status_code == 503
        assert http.get("/health").json() == {"status": "unhealthy"}
        assert http.get("/health/live").status_code == 200
        assert http.get("/health/detailed").json()["triton"]["ready"] is False

        async def stream():
            await connect(f"{gateway.websocket_url}/default")

        with pytest.raises(InvalidStatus) as caught:
            asyncio.run(stream())
        assert caught.value.response.status_code == 503
        assert time.monotonic() - began < 5


async def test_a_triton_that_hangs_is_left_alone_until_it_answers_again(server, clips):
    impatient = {"inference_timeout_secs": 1.5, "circuit_breaker_failures": 1, "circuit_breaker_recovery_secs": 1}
    async with FaultProxy(server.grpc_endpoint) as proxy:
        with running_gateway(proxy.endpoint, **impatient) as gateway:
            async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as http:

                async def post():
                    began = time.monotonic()
                    answer = await http.post(BATCH, content=pcm(clips[1].audio[:16000]))
                    return answer, time.monotonic() - began

                assert (await post())[0].status_code == 200
                proxy.line = Line(silent=True)
                assert (await post())[0].status_code in (503, 504)
                refused, secs = await post()
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "circuit_open")
                assert secs < 0.5
                assert refused.headers["retry-after"] == "1"
                detail = (await http.get("/health/detailed")).json()
                assert [circuit["state"] for model in detail["models"] for circuit in model["circuits"]] != ["closed"]
                assert "did not answer" in str(detail)
                proxy.line = GOOD_LINE
                for _ in range(50):
                    answer, _ = await post()
                    if answer.status_code == 200:
                        break
                    await asyncio.sleep(0.2)
                assert answer.status_code == 200


@pytest.fixture
def process(server):
    """The command itself, as a process; with the port it listens on."""
    environment = {
        **os.environ,
        "AMIRA_TRITON_ENDPOINT": server.grpc_endpoint,
        "AMIRA_SHUTDOWN_TIMEOUT_SECS": "2",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "clients"), str(ROOT / "clients" / "gateway")]),
    }
    command = [sys.executable, "-m", "amira_gateway", "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stderr:
            if "running on" in line:
                port = int(line.split("running on http://127.0.0.1:")[1].split()[0])
                break
        else:
            pytest.fail("the gateway did not start")
        try:
            yield running, port
        finally:
            running.kill()


async def test_a_stream_finishes_while_the_gateway_stops(process, clips):
    running, port = process
    url = f"ws://127.0.0.1:{port}/v2/decode/stream/default"
    data = pcm(clips[1].audio)
    async with connect(url) as patient, connect(url) as endless:
        await patient.send(data[:40_000])
        await endless.send(data[:40_000])
        await patient.recv()
        await endless.recv()
        running.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        with pytest.raises(InvalidStatus) as caught:
            await connect(url)
        assert caught.value.response.status_code == 503
        assert json.loads(caught.value.response.body)["error"]["code"] == "stopping"
        await patient.send(data[40_000:])
        await patient.send(END)
        assert (await rest(patient))[-1]["type"] == "final"
        assert patient.close_code == 1000
        # One that does not end by itself is ended, and says what it heard.
        assert (await rest(endless))[-1]["type"] == "final"
        assert endless.close_code == 1001
    assert running.wait(10) == 0


def run_command(**variables):
    """Run `amira-gateway` where it is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-c", "from amira_gateway.__main__ import main; main()"],
        cwd=ROOT,
        env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(["clients", "clients/gateway"])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_wrong_setting_is_one_line():
    done = run_command(AMIRA_GATEWAY_RATE_LIMIT="often")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "amira-gateway: environment: setting 'AMIRA_GATEWAY_RATE_LIMIT' is 'often'; it should"
    )


def test_a_port_that_is_taken_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_command(AMIRA_GATEWAY_PORT=str(port))
    assert done.returncode == 1
    assert done.stderr == (
        f"amira-gateway: 127.0.0.1:{port} cannot be had (Address already in use): "
        "stop what listens there, or set AMIRA_GATEWAY_PORT\n"
    )
