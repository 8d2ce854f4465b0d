"""Several recognisers in one server, and another version of one while streams run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tritonclient.utils import InferenceServerException

from amira_asr import AsrClient, Final
from amira_asr.settings import load_settings
from amira_asr.stream import Stream
from scripts.serving.server import TritonServer
from scripts.serving.server_options import ServerOptions
from scripts.serving.staging import RepositorySettings, add_repository, stage_repository
from scripts.serving.switching import RunningServer, VersionSwitch
from tests.conftest import ROOT
from tests.server.streams import Streams, chunks_of, new_id

STOCK = ROOT / "model-repo"
SECONDS = 5
UPPER = RepositorySettings(prefix="upper.")


def shouting(folder: Path) -> Path:
    """A copy of the shipped repository that writes the same words in capitals."""
    shutil.copytree(STOCK, folder)
    for vocabulary in folder.glob("decoder*/1/vocabulary.txt"):
        vocabulary.write_text(vocabulary.read_text(encoding="utf-8").upper(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Repositories: one in capitals, one that does not load."""
    folder = tmp_path_factory.mktemp("versions")
    upper = shouting(folder / "upper")
    broken = folder / "broken"
    shutil.copytree(STOCK, broken)
    (broken / "encoder" / "1" / "model.onnx").write_bytes(b"nothing of the kind")
    return {"upper": upper, "broken": broken}


@pytest.fixture(scope="module")
def running(tmp_path_factory, versions):
    """A server with two recognisers, whose models may be changed."""
    folder = tmp_path_factory.mktemp("switched")
    stage_repository(STOCK, folder / "model-repo", RepositorySettings(copy_files=True, stream_timeout_secs=600))
    add_repository(versions["upper"], folder / "model-repo", UPPER)
    with TritonServer(ServerOptions(folder / "model-repo", folder, model_control=True)) as server:
        yield server


@pytest.fixture(scope="module")
def passage(speech):
    """A few seconds of speech."""
    return speech[: SECONDS * 16000]


def client_of(server, **settings) -> AsrClient:
    return AsrClient(load_settings(Path("/nonexistent"), triton_endpoint=server.grpc_endpoint, **settings))


def recognise(client, audio) -> str:
    """Stream a waveform with the client; return the final text."""
    *_, final = client.stream([audio])
    assert isinstance(final, Final)
    return final.text


def switch_command(server, *arguments):
    """`python -m scripts.switch`."""
    command = [sys.executable, "-m", "scripts.switch", "--runtime-dir", str(server.options.runtime_folder)]
    return subprocess.run([*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)


def test_recognisers_serve_side_by_side(running, passage):
    with client_of(running) as default:
        lower, listed = recognise(default, passage), {model.name: model.streaming for model in default.models()}
        assert default.transcribe(passage).text == lower
    with client_of(running, streaming_model_name="upper.asr_streaming", batch_model_name="upper.asr_batch") as other:
        assert recognise(other, passage) == lower.upper()
        assert other.transcribe(passage).text == lower.upper()
    assert lower != lower.upper()
    assert listed == {"asr_streaming": True, "asr_batch": False, "upper.asr_streaming": True, "upper.asr_batch": False}


def test_each_recogniser_admits_its_own_number_of_streams(tmp_path):
    stage_repository(STOCK, tmp_path, RepositorySettings(max_concurrent_streams=7))
    add_repository(STOCK, tmp_path, RepositorySettings(max_concurrent_streams=3, prefix="small."))
    limits = {
        name: re.search(r'"max_concurrent_streams"\s*value\s*{\s*string_value: "(\d+)"', text).group(1)
        for name in ("preprocessor", "small.preprocessor")
        if (text := (tmp_path / name / "config.pbtxt").read_text())
    }
    assert limits == {"preprocessor": "7", "small.preprocessor": "3"}
    assert len(list(tmp_path.glob("*vad"))) == 1
    with pytest.raises(FileExistsError, match=r"two models would be named 'small\."):
        add_repository(STOCK, tmp_path, RepositorySettings(prefix="small."))


def test_a_version_that_does_not_load_changes_nothing(running, versions, passage):
    streams = Streams(running.grpc_endpoint)
    expected = streams.stream(passage)[-1].text
    result = switch_command(running, versions["broken"])
    assert result.returncode == 1
    assert "the new version was not taken, the old one stays" in result.stderr
    assert "Traceback" not in result.stderr
    assert streams.stream(passage)[-1].text == expected
    assert not list(running.options.model_repository.glob("v*.*"))
    assert switch_command(running).stderr.startswith("no switch is under way")


class Traffic:
    """Streams of the client library, one after the other in each of several threads."""

    def __init__(self, server, audio, threads):
        self.texts, self.errors = [], []
        self._stop = threading.Event()
        self._server, self._audio = server, audio
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self):
        with client_of(self._server) as client:
            while not self._stop.is_set():
                try:
                    self.texts.append(recognise(client, self._audio))
                except Exception as error:
                    self.errors.append(error)


def test_a_switch_drops_no_stream(running, versions, passage, monkeypatch):
    open_stream = Stream._open

    async def open_once(stream, policy, loss=None):
        if loss is not None:
            raise loss
        return await open_stream(stream, policy)

    monkeypatch.setattr(Stream, "_open", open_once)  # no replay may hide a lost stream
    raw = Streams(running.grpc_endpoint)
    lower = raw.stream(passage)[-1].text
    chunks = chunks_of(passage)
    begun = {new_id(): count for count in (1, 2, 5, len(chunks) - 1)}  # streams that know nothing of switches
    for sequence_id, count in begun.items():
        for index in range(count):
            raw.send(sequence_id, chunks[index], start=index == 0)
    with Traffic(running, passage, threads=1) as traffic:
        result = switch_command(running, versions["upper"], "--timeout", "3")
        assert result.returncode == 1
        assert re.match(rf"[{len(begun)}-9] streams are left", result.stderr)
        with client_of(running) as client:
            assert recognise(client, passage) == lower.upper()
            assert client.transcribe(passage).text == lower.upper()
        assert switch_command(running, versions["upper"]).stderr.startswith("the switch to v2. is not finished")
        results = []
        finishing = threading.Thread(target=lambda: results.append(switch_command(running)))
        finishing.start()
        for sequence_id, count in begun.items():
            for index in range(count, len(chunks)):
                final = raw.send(sequence_id, chunks[index], end=index == len(chunks) - 1)
            assert final.is_final
            assert final.text == lower
        finishing.join(60)
        assert results[0].returncode == 0, results[0].stderr
        assert raw.stream(passage)[-1].text == lower.upper()
        assert raw.batch(passage).text == lower.upper()
    assert not traffic.errors
    assert set(traffic.texts) == {lower, lower.upper()}
    assert traffic.texts == sorted(traffic.texts, key=str.isupper)  # never back to the old one
    assert running.is_ready()
    assert not (running.options.model_repository / "encoder").exists()
    with pytest.raises(InferenceServerException):
        raw.client.get_model_config("encoder")


def test_a_stream_that_starts_in_the_moment_of_the_switch_goes_on(running, passage):
    server = RunningServer.find(running.options.runtime_folder)
    switch = VersionSwitch(server, prefix="upper.", streaming="upper.asr_streaming", batch="upper.asr_batch")
    raw = Streams(running.grpc_endpoint, "upper.")
    expected = raw.stream(passage)[-1].text
    assert expected.isupper()
    started, sequence_id, chunks = threading.Event(), new_id(), chunks_of(passage)
    count_live = switch._live

    def count_then_start(models):
        count = count_live(models)
        if not started.is_set():
            raw.send(sequence_id, chunks[0], start=True)
            started.set()
        return count

    switch._live = count_then_start
    assert switch.begin(STOCK, RepositorySettings()) == "upper.v2."
    finishing = threading.Thread(target=switch.finish)
    finishing.start()
    assert started.wait(60)
    time.sleep(1.0)
    for index, chunk in enumerate(chunks[1:], 1):
        final = raw.send(sequence_id, chunk, end=index == len(chunks) - 1)
    assert final.text == expected
    finishing.join(60)
    assert raw.stream(passage)[-1].text == expected.lower()


def test_a_server_that_has_switched_drains(running):
    assert running.drain()  # it refuses what is new from here on, so this is the last test of it


def test_a_server_without_model_control_says_what_it_needs(server, versions):
    result = switch_command(server, versions["upper"])
    assert result.returncode == 1
    assert "AMIRA_MODEL_CONTROL=explicit" in result.stderr
