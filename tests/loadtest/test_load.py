"""Shapes, objectives, and a short load with Locust's users against the real server."""

from __future__ import annotations

import argparse
import csv
import json

import pytest

from loadtest.processes import ProcessSampler, growth, slopes
from loadtest.recordings import BUNDLED
from loadtest.run import run_locust
from loadtest.shapes import SHAPES
from loadtest.slo import Objective, parse, verdict
from loadtest.speakers import Call, Speakers


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_shape_has_between_one_and_all_users(name):
    users = [SHAPES[name](elapsed, 100.0, 40) for elapsed in range(100)]
    assert min(users) >= 1
    assert max(users) == 40
    assert name == "spike" or users == sorted(users)


def test_objectives():
    assert parse("p95=300, errors=0,late=1.5") == [
        Objective("p95", 300),
        Objective("errors", 0),
        Objective("late", 1.5),
    ]
    with pytest.raises(ValueError, match="slo is 'p95<3'; allowed"):
        parse("p95<3")


def test_verdict():
    latencies = [float(n) for n in range(1, 101)]
    assert verdict(parse("p50=60,errors=0"), latencies, 0, 0)[0]
    assert not verdict(parse("p50=40"), latencies, 0, 0)[0]
    met, line = verdict(parse("p99=200,errors=0"), latencies, 3, 0)
    assert not met
    assert line == "FAIL: p99 99 ms (limit 200 ms), errors 2.91% (limit 0%); 100 answers"
    assert verdict([], [], 0, 0) == (False, "FAIL: nothing was answered")


def test_slopes_are_per_hour_and_without_the_start(tmp_path):
    path = tmp_path / "processes.csv"
    rows = [f"{10 * n},7,stub,{100 if n < 2 else 50 + n / 360},{8 + (n >= 2)},4,1.0" for n in range(8)]
    path.write_text("\n".join(["elapsed_secs,pid,process,private_mb,handles,threads,cpu_secs", *rows]) + "\n")
    ((name, (memory, handles)),) = slopes(path).items()
    assert (name, round(memory, 6), handles) == ("stub 7", 1.0, 0.0)


def test_callers_against_the_server(server, tmp_path):
    options = argparse.Namespace(
        users=["StreamUser", "BatchUser"], shape="constant", peak=6, slo="errors=0,late=100", recordings=None
    )
    with ProcessSampler(server.pid, tmp_path / "processes.csv", every_secs=1):
        assert run_locust(server.grpc_endpoint, tmp_path / "load", options, 12, finish_secs=8, quiet=True) == 0
    totals = json.loads((tmp_path / "load.json").read_text())
    assert totals["met"]
    assert totals["chunk_ms"]
    assert totals["recording_ms"]
    assert not totals["errors"]
    with (tmp_path / "load_stats.csv").open(newline="") as file:
        names = {row["Name"] for row in csv.DictReader(file)}
    assert {"chunk", "time to first partial", "recording"} <= names
    assert (tmp_path / "load.html").stat().st_size > 10_000
    assert any("tritonserver" in process for process in growth(tmp_path / "processes.csv"))


def test_memory_is_that_of_the_server_of_the_last_part(tmp_path):
    """A run that was gone on with has a server for each part, and the sum of two is nobody's."""
    path = tmp_path / "processes.csv"
    lines = ["elapsed_secs,pid,process,private_mb,handles,threads,cpu_secs"]
    for pid, elapsed in ((10, 0), (10, 5), (20, 10), (20, 15)):
        lines += [f"{elapsed},{pid},tritonserver,{pid},7,1,0", f"{elapsed},{pid + 1},stub,{pid},7,1,0"]
    path.write_text("\n".join(lines))
    assert growth(path) == {"tritonserver 20": (20, 20), "stub 21": (20, 20)}


def test_the_same_seed_says_the_same(server):
    speakers = Speakers(server.grpc_endpoint, "asr_streaming", BUNDLED)
    try:
        line = speakers.line()
        whole, cut, rest = (line.say(Call("stream", 42, **part)) for part in ({}, {"end": 0.5}, {"begin": 0.5}))
        assert whole.error is cut.error is rest.error is None
        assert cut.audio_secs + rest.audio_secs == pytest.approx(whole.audio_secs)
        assert len(cut.chunk_ms) + len(rest.chunk_ms) == len(whole.chunk_ms)
        assert whole.final_ms is not None
        assert cut.final_ms is None
        assert line.say(Call("recording", 42)).audio_secs > 1
    finally:
        speakers.close()


def test_errors_are_counted_by_kind(tmp_path):
    options = argparse.Namespace(users=["BatchUser"], shape="constant", peak=1, slo="errors=0", recordings=None)
    assert run_locust("127.0.0.1:9", tmp_path / "load", options, 3, finish_secs=2, quiet=True) == 1
    totals = json.loads((tmp_path / "load.json").read_text())
    assert not totals["met"]
    assert "failed to connect" in " ".join(totals["errors"])
