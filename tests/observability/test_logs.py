"""The log of a running server: JSON lines with IDs, and nothing that was said."""

from __future__ import annotations

import io
import json
import logging

import pytest
from tritonclient.utils import InferenceServerException

from common.json_log import JsonFormatter, TextFormatter, Throttle, model_log
from tests.server.streams import CHUNK, Streams, audio_input, new_id


def lines_of(server):
    """The JSON lines of the log so far."""
    text = server.log_path.read_text(errors="replace")
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.server
def test_streams_and_refusals_are_logged_with_their_ids(server, speech):
    streams, identifier = Streams(server.grpc_endpoint), new_id()
    streams.send(identifier, speech[:CHUNK], start=True)
    with pytest.raises(InferenceServerException):
        streams.client.infer("asr_streaming", audio_input(speech[:100]), sequence_id=identifier, request_id="r-17")
    streams.send(identifier, [], end=True)
    ours = [line for line in lines_of(server) if line.get("correlation_id") == identifier]
    assert [line["event"] for line in ours] == ["stream started", "request refused", "stream ended"]
    started, refused, ended = ours
    assert {line["model"] for line in ours} == {"preprocessor"}
    assert {line["level"] for line in ours} == {"info"}
    assert started["time"] <= refused["time"] <= ended["time"]
    assert (refused["request_id"], refused["kind"]) == ("r-17", "request")
    assert "AUDIO has 100 samples" in refused["error"]
    assert (ended["cause"], ended["audio_secs"]) == ("error", 0.56)


@pytest.mark.server
def test_every_backend_logs_a_refusal_of_its_own(server, speech):
    streams, identifier = Streams(server.grpc_endpoint), new_id()
    with pytest.raises(InferenceServerException, match="beam_size"):
        streams.send(identifier, speech[:CHUNK], start=True, parameters={"beam_size": 99})
    refused = [line for line in lines_of(server) if line.get("correlation_id") == identifier and "error" in line]
    assert [(line["model"], line["kind"]) for line in refused] == [("decoder", "request")]
    with pytest.raises(InferenceServerException):
        streams.client.infer("vad", audio_input([]), request_id="empty recording")
    refused = [line for line in lines_of(server) if line.get("request_id") == "empty recording"]
    assert [line["model"] for line in refused] == ["vad"]


@pytest.mark.server
def test_nothing_that_was_said_is_in_the_log(server, speech):
    streams, phrase = Streams(server.grpc_endpoint), "zyzzogeton"
    texts = [streams.stream(speech)[-1].text, streams.batch(speech).text]
    with pytest.raises(InferenceServerException):
        streams.send(new_id(), speech[:CHUNK], start=True, parameters={"phrases": phrase, "beam_size": phrase})
    log = server.log_path.read_text(errors="replace").lower()
    words = {word for text in texts for word in text.lower().split() if len(word) > 5}
    assert words
    assert [word for word in words if word in log] == []
    assert phrase not in log


def record(event, **fields):
    return logging.makeLogRecord({"name": "amira.encoder", "levelno": logging.INFO, "msg": event, **fields})


def test_a_line_is_json_with_its_fields():
    line = json.loads(JsonFormatter().format(record("stream ended", correlation_id=7, cause="end", created=0.0)))
    assert line.pop("time").startswith("1970-01-01T00:00:00.")
    assert line == {
        "level": "info",
        "model": "encoder",
        "event": "stream ended",
        "correlation_id": 7,
        "cause": "end",
    }


def test_a_line_for_people():
    line = TextFormatter().format(record("stream ended", cause="end"))
    assert line.endswith('info encoder: stream ended cause="end"')


def test_line_breaks_of_a_caller_stay_inside_their_line():
    assert "\n" not in JsonFormatter().format(record("request refused", error="a\n{}"))
    assert "\n" not in TextFormatter().format(record("request refused", error="a\n{}"))


def test_a_flood_is_cut_and_counted():
    throttle = Throttle(3)
    passed = [throttle.filter(record("x", created=100.5)) for _ in range(10)]
    later = record("x", created=101.5)
    assert passed == [True] * 3 + [False] * 7
    assert throttle.filter(later)
    assert later.left_out_before == 7


@pytest.mark.parametrize(("level", "shown"), [("error", False), ("info", True), ("verbose", True)])
def test_the_launcher_sets_the_level(monkeypatch, level, shown):
    monkeypatch.setenv("AMIRA_LOG_LEVEL", level)
    log, stream = model_log("m"), io.StringIO()
    log.handlers[0].setStream(stream)
    log.info("stream started")
    assert bool(stream.getvalue()) == shown
