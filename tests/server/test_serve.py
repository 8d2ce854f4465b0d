"""`make serve` as its user sees it: settings, readiness, a clean stop; and the staged repository."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import InferenceServerException

from scripts.serving.draining import read_work
from scripts.serving.limits import Limits
from scripts.serving.staging import RepositorySettings, stage_repository
from tests.conftest import ROOT
from tests.server.streams import Streams, chunks_of, new_id

FREE_PORTS = {"AMIRA_GRPC_PORT": "0", "AMIRA_HTTP_PORT": "0", "AMIRA_METRICS_PORT": "0"}


def serve(tmp_path, *arguments, **variables):
    """Start `python -m scripts.serve`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AMIRA_")}
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.serve", "--runtime-dir", str(tmp_path / "run"), *arguments],
        cwd=ROOT,
        env={**environment, **FREE_PORTS, **variables, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def endpoint_of(process):
    """Read the output until the server is ready."""
    return addresses_of(process)[0]


def addresses_of(process):
    """Read the output until the server is ready; return the gRPC endpoint and the URL of the metrics."""
    for line in process.stdout:
        if ready := re.search(r"ready: gRPC (\S+),.* metrics (\S+)", line):
            return ready.groups()
    raise AssertionError("the server did not become ready")


def wait_until_inside(metrics_url, before):
    """Wait until a whole-utterance request has passed the first step."""
    deadline = time.monotonic() + 20
    while read_work(metrics_url).executions["preprocessor_batch"] == before:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_and_finishes_what_is_in_flight(tmp_path, clips, signal_number):
    process = serve(tmp_path)
    endpoint, metrics_url = addresses_of(process)
    streams = Streams(endpoint)
    before = read_work(metrics_url).executions["preprocessor_batch"]
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) > 5
    answers = []
    worker = threading.Thread(target=lambda: answers.append(streams.batch(clips[0].audio)))
    worker.start()
    wait_until_inside(metrics_url, before)
    process.send_signal(signal_number)
    worker.join(30)
    assert process.wait(60) == 0
    assert len(answers) == 1
    assert answers[0].is_final
    assert not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_a_stopping_server_lets_streams_finish_and_refuses_new_ones(tmp_path, speech):
    idle_secs, patience_secs = 5, 60
    process = serve(tmp_path, AMIRA_STREAM_TIMEOUT_SECS=str(idle_secs), AMIRA_SHUTDOWN_TIMEOUT_SECS=str(patience_secs))
    streams = Streams(endpoint_of(process))
    expected = streams.stream(speech)[-1]
    sequence_id, chunks = new_id(), chunks_of(speech)
    streams.send(sequence_id, chunks[0], start=True)
    streams.send(new_id(), chunks[0], start=True)  # its client has gone, and nothing else comes
    assert streams.client.is_server_ready()
    log = tmp_path / "run" / "triton.log"
    started = log.read_text()
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 5
    while streams.client.is_server_ready():  # load balancers see it at once
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert streams.client.is_server_live()
    for refused in (lambda: streams.stream(speech), lambda: streams.batch(speech)):
        with pytest.raises(InferenceServerException, match="server is stopping") as error:
            refused()
        assert error.value.status() == "StatusCode.UNAVAILABLE"
    for index, chunk in enumerate(chunks[1:], 1):
        final = streams.send(sequence_id, chunk, end=index == len(chunks) - 1)
    assert final.tokens == expected.tokens
    assert process.wait(30) == 0, "it waited for a stream that nobody ended"
    said = log.read_text().removeprefix(started)
    assert not re.search(r"^\S+ E |not_ready", said, re.MULTILINE), "stopping looks like a failure"


def test_wrong_settings_are_told_before_anything_starts(tmp_path):
    process = serve(tmp_path, AMIRA_MAX_CONCURRENT_STREAMS="many")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "AMIRA_MAX_CONCURRENT_STREAMS" in output
    assert "'many'" in output
    assert "Traceback" not in output


def test_print_config_shows_where_values_come_from(tmp_path):
    (tmp_path / "config.toml").write_text("max_symbols_per_step = 5\nstream_timeout_secs = 7.0\n")
    (tmp_path / "config.yaml").write_text("stream_timeout_secs: 9\n")
    process = serve(tmp_path, "--config-dir", str(tmp_path), "--print-config", AMIRA_HOST="127.0.0.2")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(r"^max_symbols_per_step = 5 +# config.toml", output, re.MULTILINE)
    assert re.search(r"^stream_timeout_secs = 9.0 +# config.yaml", output, re.MULTILINE)
    assert re.search(r'^host = "127.0.0.2" +# environment', output, re.MULTILINE)


def read(folder, model):
    return text_format.Parse((folder / model / "config.pbtxt").read_text(), pb.ModelConfig())


def test_settings_reach_the_staged_configurations(tmp_path):
    vocabulary = tmp_path / "mine.txt"
    shutil.copy(ROOT / "model-repo" / "decoder" / "1" / "vocabulary.txt", vocabulary)
    language_model = tmp_path / "lm.arpa"
    language_model.touch()
    settings = RepositorySettings(
        max_concurrent_streams=2000,
        max_batch_audio_secs=12.5,
        max_symbols_per_step=3,
        max_total_tokens=77,
        stream_timeout_secs=4.5,
        vocabulary=vocabulary,
        max_beam_size=5,
        language_model=Path(os.path.relpath(language_model)),
        source_language_model=language_model,
        lm_weight=0.25,
        batch_window_ms=20,
        model_names=(("encoder", "enc2"), ("decoder_joint", "joint2")),
    )
    staged = tmp_path / "staged"
    stage_repository(ROOT / "model-repo", staged, settings)
    assert read(staged, "preprocessor").parameters["max_concurrent_streams"].string_value == "2000"
    assert read(staged, "preprocessor_batch").parameters["max_audio_secs"].string_value == "12.5"
    assert read(staged, "asr_batch").parameters["max_audio_secs"].string_value == "12.5"
    for model in ("preprocessor", "enc2", "decoder"):
        batching = read(staged, model).sequence_batching
        assert batching.max_sequence_idle_microseconds == 4_500_000
        # START that is refused holds a candidate place.
        assert batching.oldest.max_candidate_sequences == 32768
    delays = [
        read(staged, model).sequence_batching.oldest.max_queue_delay_microseconds for model in ("preprocessor", "enc2")
    ]
    assert delays == [20_000, 500]
    assert read(staged, "preprocessor").parameters["batch_rest_ms"].string_value == "0"
    for model in ("decoder", "decoder_batch"):
        parameters = read(staged, model).parameters
        assert parameters["decoder_greedy_model"].string_value == "decoder_greedy"
        assert parameters["max_symbols_per_step"].string_value == "3"
        assert parameters["max_total_tokens"].string_value == "77"
        assert parameters["max_beam_size"].string_value == "5"
        assert parameters["language_model"].string_value == str(language_model)
        assert parameters["source_language_model"].string_value == str(language_model)
        assert parameters["lm_weight"].string_value == "0.25"
        assert parameters["decoder_joint_model"].string_value == "joint2"
        assert (staged / model / "1" / "vocabulary.txt").resolve() == vocabulary
    assert [step.model_name for step in read(staged, "asr_streaming").ensemble_scheduling.step] == [
        "preprocessor",
        "enc2",
        "decoder",
    ]
    assert read(staged, "enc2_batch").name == "enc2_batch"


def test_the_greedy_graph_is_left_out_of_the_profiles_that_cannot_run_it(tmp_path):
    stage_repository(ROOT / "model-repo", tmp_path / "staged", RepositorySettings(greedy_graph=False))
    assert not (tmp_path / "staged" / "decoder_greedy").exists()
    for model in ("decoder", "decoder_batch"):
        assert "decoder_greedy_model" not in read(tmp_path / "staged", model).parameters


def test_graphs_and_features_are_told_who_runs_them(tmp_path):
    settings = RepositorySettings(execution="torch:cuda", features_execution="torch:cpu", precision="fp16")
    stage_repository(ROOT / "model-repo", tmp_path / "staged", settings)
    for model in ("encoder", "encoder_batch", "decoder_joint", "decoder_greedy"):
        parameters = read(tmp_path / "staged", model).parameters
        assert (parameters["execution"].string_value, parameters["precision"].string_value) == ("torch:cuda", "fp16")
    for model in ("preprocessor", "preprocessor_batch"):
        parameters = read(tmp_path / "staged", model).parameters
        assert parameters["execution"].string_value == "torch:cpu"
        assert "precision" not in parameters


def test_batches_of_streams_fit_the_models_that_they_reach(tmp_path):
    for streams, ensemble, joint in ((256, 32, 256), (4, 4, 128)):
        stage_repository(ROOT / "model-repo", tmp_path / "staged", RepositorySettings(max_batch_size=streams))
        sizes = {path.parent.name: read(tmp_path / "staged", path.parent.name) for path in _configs(tmp_path)}
        largest = {name: config.max_batch_size for name, config in sizes.items()}
        assert largest["preprocessor"] == largest["encoder"] == largest["decoder"] == streams
        assert largest["asr_streaming"] == ensemble
        assert largest["decoder_joint"] == largest["decoder_greedy"] == joint
        assert sizes["decoder"].parameters["joint_max_batch_size"].string_value == str(joint)
        assert largest["encoder_batch"] == 8
        assert all(largest["asr_batch"] <= largest[f"{step}_batch"] for step in ("preprocessor", "encoder", "decoder"))


def _configs(folder):
    return (folder / "staged").glob("*/config.pbtxt")


def test_limits_reach_the_models_that_keep_them(tmp_path):
    limits = Limits(
        max_concurrent_batches=5,
        max_stream_secs=7.5,
        max_streams_per_client=2,
        rate_limit="30/minute",
        max_parameter_bytes=4000,
    )
    stage_repository(ROOT / "model-repo", tmp_path, RepositorySettings(prefix="x.", limits=limits))
    starts = {"rate_limit": "30/minute", "max_parameter_bytes": "4000"}
    inside = {"pipeline": "x.batch", "max_concurrent_batches": "5"}
    expected = {
        "x.preprocessor": starts | {"max_stream_secs": "7.5", "max_streams_per_client": "2"},
        "x.preprocessor_batch": starts | inside,
        "x.decoder_batch": inside,
        "vad": starts,
        "x.encoder": {},
    }
    for model, wanted in expected.items():
        found = {key: value.string_value for key, value in read(tmp_path, model).parameters.items()}
        assert {key: found[key] for key in {*starts, *inside, *wanted} & found.keys()} == wanted
    queues = {"x.preprocessor_batch": 20, "x.encoder_batch": 5, "x.decoder_batch": 5, "vad": 20, "x.decoder_joint": 0}
    for model, size in queues.items():
        assert read(tmp_path, model).dynamic_batching.default_queue_policy.max_queue_size == size


def test_without_a_language_model_its_weight_is_not_written(tmp_path):
    stage_repository(ROOT / "model-repo", tmp_path / "staged", RepositorySettings(lm_weight=0.5))
    assert "lm_weight" not in read(tmp_path / "staged", "decoder").parameters


@pytest.mark.parametrize(("name", "what"), [("vocabulary", "vocabulary file"), ("language_model", "language model")])
def test_a_missing_file_is_refused(tmp_path, name, what):
    settings = RepositorySettings(**{name: tmp_path / "nothing"})
    with pytest.raises(FileNotFoundError, match=f"{what} .*nothing does not exist"):
        stage_repository(ROOT / "model-repo", tmp_path / "staged", settings)


def test_a_renamed_pipeline_serves(tmp_path, speech):
    process = serve(tmp_path, AMIRA_ENCODER_MODEL_NAME="encoder-v2", AMIRA_DECODER_JOINT_MODEL_NAME="joint-v2")
    try:
        streams = Streams(endpoint_of(process))
        second = serve(tmp_path)
        assert "run is that of a server that runs: stop it, or give --runtime-dir" in second.communicate(timeout=60)[0]
        assert second.returncode == 1
        assert streams.stream(speech)[-1].is_final
    finally:
        process.terminate()
        process.wait(60)


def test_a_port_that_is_taken_is_named_before_anything_is_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        output, _ = serve(tmp_path, AMIRA_HTTP_PORT=str(port)).communicate(timeout=60)
    assert output == (
        f"setting 'http_port': 127.0.0.1:{port} cannot be had (Address already in use): "
        "stop what listens there, or set AMIRA_HTTP_PORT\n"
    )


def test_an_empty_repository_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no models"):
        stage_repository(tmp_path, tmp_path / "staged", RepositorySettings())
    with pytest.raises(FileNotFoundError, match=r"no-such: no such folder"):
        stage_repository(tmp_path / "no-such", tmp_path / "staged", RepositorySettings())


def test_the_token_limit_ends_a_stream_with_its_text(tmp_path, speech):
    process = serve(tmp_path, AMIRA_MAX_TOTAL_TOKENS="5")
    try:
        streams = Streams(endpoint_of(process))
        sequence_id = new_id()
        with pytest.raises(InferenceServerException, match="max_total_tokens allows 5"):
            for index, chunk in enumerate(chunks_of(speech)):
                streams.send(sequence_id, chunk, start=index == 0)
        final = streams.send(sequence_id, [], end=True)
        assert final.is_final
        assert len(final.tokens) > 5
    finally:
        process.terminate()
        assert process.wait(20) == 0
