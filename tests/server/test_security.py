"""A server with everything closed that can be closed, and who gets in."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from amira_asr import AsrClient, Final
from amira_asr.errors import AmiraError
from amira_asr.settings import SettingsError, load_settings
from tests.server.streams import audio_input, new_id
from tests.server.test_serve import serve

KEY = "a-key-of-some-length.0123"
GRPC_KEY = {"triton-grpc-protocol-amira-api-key": KEY}


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate authority, one of server and one of client that it signed, and a client's that it did not."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("certificates")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    for authority in ("ca", "stranger-ca"):
        openssl("req", "-x509", *new, "-subj", f"/CN={authority}", "-keyout", folder / f"{authority}.key", "-out",
                folder / f"{authority}.pem")  # fmt: skip
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "stranger-ca")):
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
        openssl("x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / f"{authority}.pem", "-CAkey",
                folder / f"{authority}.key", "-CAcreateserial", "-days", "2", "-extfile", folder / "san", "-out",
                folder / f"{name}.pem")  # fmt: skip
        (folder / f"{name}.key").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def closed(tmp_path_factory, certificates):
    """gRPC endpoint, HTTP port, metrics and log of a server that asks for a certificate and a key; and its process."""
    key_file = tmp_path_factory.mktemp("key") / "api-key"
    key_file.write_text(KEY + "\n")
    key_file.chmod(0o600)
    folder = tmp_path_factory.mktemp("closed")
    process = serve(
        folder,
        AMIRA_API_KEY_FILE=str(key_file),
        AMIRA_TLS_CERTIFICATE=str(certificates / "server.pem"),
        AMIRA_TLS_KEY=str(certificates / "server.key"),
        AMIRA_TLS_CLIENT_CA=str(certificates / "ca.pem"),
    )
    printed = []
    for line in process.stdout:
        printed.append(line)
        if match := re.search(r"ready: gRPC (\S+), HTTP port (\d+)", line):
            break
    else:
        raise AssertionError(printed)
    yield match[1], match[2], process, folder / "run", printed
    process.terminate()
    assert process.wait(60) == 0


def settings(closed, certificates, **changes):
    """Settings of a client that gets in, with changes."""
    values = {
        "triton_endpoint": closed[0],
        "api_key": KEY,
        "tls": "on",
        "tls_root_certificate": certificates / "ca.pem",
        "tls_client_certificate": certificates / "client.pem",
        "tls_client_key": certificates / "client.key",
        "retry_attempts": 1,
        "inference_timeout_secs": 5,
        **changes,
    }
    return load_settings(Path("/nonexistent"), **values)


def test_who_has_certificate_and_key_streams_and_lists(closed, certificates, speech):
    with AsrClient(settings(closed, certificates)) as client:
        *_, final = client.stream([speech[:48000]])
        assert isinstance(final, Final)
        assert final.text
        assert client.transcribe(speech[:48000]).text
        assert {model.name for model in client.models()} == {"asr_streaming", "asr_batch"}


@pytest.mark.parametrize(
    "changes",
    [
        {"api_key": "another-key-of-some-length"},
        {"api_key": None},
        {"tls": None, "tls_root_certificate": None, "tls_client_certificate": None, "tls_client_key": None},
        {"tls_client_certificate": None, "tls_client_key": None},
        {"tls_root_certificate": "stranger-ca.pem"},
        {"tls_client_certificate": "stranger.pem", "tls_client_key": "stranger.key"},
    ],
    ids=["wrong key", "no key", "no TLS", "no client certificate", "server not believed", "client not believed"],
)
def test_who_lacks_one_of_them_stays_out(closed, certificates, speech, changes):
    changes = {
        name: certificates / value if isinstance(value, str) and name.startswith("tls_") else value
        for name, value in changes.items()
    }
    with AsrClient(settings(closed, certificates, **changes)) as client, pytest.raises(AmiraError):
        client.transcribe(speech[:16000])


@pytest.fixture(scope="module")
def triton(closed, certificates):
    """A bare client over TLS."""
    return grpc.InferenceServerClient(
        closed[0],
        ssl=True,
        root_certificates=str(certificates / "ca.pem"),
        private_key=str(certificates / "client.key"),
        certificate_chain=str(certificates / "client.pem"),
    )


CLIENTS = {
    "inference": lambda triton, headers: triton.infer(
        "asr_streaming", audio_input([]), sequence_id=new_id(), sequence_start=True, sequence_end=True, headers=headers
    ),
    "metadata": lambda triton, headers: triton.get_server_metadata(headers=headers),
    "model-config": lambda triton, headers: triton.get_model_config("encoder", headers=headers),
}
OPERATORS = {
    "index": lambda triton, headers: triton.get_model_repository_index(headers=headers),
    "load": lambda triton, headers: triton.load_model("vad", headers=headers),
    "unload": lambda triton, headers: triton.unload_model("vad", headers=headers),
    "statistics": lambda triton, headers: triton.get_inference_statistics(headers=headers),
    "shared memory": lambda triton, headers: triton.register_system_shared_memory("x", "/x", 8, headers=headers),
    "trace": lambda triton, headers: triton.update_trace_settings(settings={"trace_rate": "1"}, headers=headers),
    "logging": lambda triton, headers: triton.update_log_settings({"log_verbose_level": 1}, headers=headers),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_clients_need_the_key_over_grpc(triton, name):
    CLIENTS[name](triton, GRPC_KEY)
    with pytest.raises(InferenceServerException, match="This protocol is restricted"):
        CLIENTS[name](triton, None)


@pytest.mark.parametrize("key", [None, "another-key-of-some-length"])
def test_a_caller_without_the_key_is_told_which_settings(closed, certificates, speech, key):
    with (
        AsrClient(settings(closed, certificates, api_key=key)) as client,
        pytest.raises(AmiraError, match="takes only calls with its API key, and AMIRA_API_KEY or AMIRA_API_KEY_FILE"),
    ):
        client.transcribe(speech[:16000])


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_doors_are_closed_to_those_with_the_key_too(triton, name):
    with pytest.raises(InferenceServerException, match="This protocol is restricted"):
        OPERATORS[name](triton, GRPC_KEY)


def test_health_is_open_to_all_over_http_and_nothing_else(closed):
    def status(path, method="GET"):
        request = urllib.request.Request(
            f"http://127.0.0.1:{closed[1]}/{path}", method=method, headers={"amira-api-key": KEY}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert status("v2/health/ready") == status("v2/health/live") == 200
    doors = ("v2", "v2/models/asr_streaming", "v2/models/asr_streaming/config", "v2/models/stats", "v2/trace/setting")
    doors += ("v2/logging", "v2/systemsharedmemory/status", "v2/cudasharedmemory/status")
    assert {door: status(door) for door in doors} == dict.fromkeys(doors, 403)
    for door in ("v2/models/asr_batch/infer", "v2/repository/index", "v2/repository/models/vad/unload"):
        assert status(door, "POST") == 403


def test_the_key_is_nowhere_to_be_read(closed):
    _, _, process, run, printed = closed
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in family:
        for what in ("cmdline", "environ"):
            assert KEY.encode() not in (Path("/proc") / str(pid) / what).read_bytes()
    arguments = b" ".join((Path("/proc") / str(pid) / "cmdline").read_bytes() for pid in family)
    assert b"amira-operator=***" in arguments
    assert KEY not in "".join(printed)
    for file in (*run.glob("*"), *run.glob("model-repo/*/config.pbtxt")):
        assert not file.is_file() or KEY not in file.read_text(errors="replace"), file
    assert run.stat().st_mode & 0o077 == 0
    assert (run / "address.json").stat().st_mode & 0o077 == 0


def test_settings_show_no_key_and_say_what_does_not_fit(tmp_path, certificates, monkeypatch):
    process = serve(tmp_path, "--print-config", AMIRA_API_KEY=KEY)
    output, _ = process.communicate(timeout=60)
    assert KEY not in output
    monkeypatch.setenv("AMIRA_API_KEY", "short-secret")
    with pytest.raises(SettingsError, match="AMIRA_API_KEY' is not shown; it should be 16 to 200 letters"):
        load_settings(tmp_path)
    monkeypatch.delenv("AMIRA_API_KEY")
    with pytest.raises(SettingsError, match="'tls' is 'off' with certificates"):
        AsrClient(load_settings(tmp_path, tls_root_certificate=certificates / "ca.pem"))
    for variables, message in (
        ({"AMIRA_TLS_KEY": str(certificates / "server.key")}, "should be given together"),
        ({"AMIRA_VOCABULARY_PATH": "/etc"}, "setting 'vocabulary_path': /etc is no file"),
        ({"AMIRA_API_KEY_FILE": "/nonexistent"}, "setting 'api_key_file'"),
    ):
        process = serve(tmp_path, **variables)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert message in output
        assert "Traceback" not in output
