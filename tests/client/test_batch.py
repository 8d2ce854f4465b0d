"""`amira-asr batch`: manifests in and out, going on after SIGKILL at any moment, failures, refusals."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time

import pytest

from amira_asr.batch.items import common_folder, read_items
from amira_asr.batch.journal import Journal
from amira_asr.batch.results import Results, ResultsError
from amira_asr.events import Final
from amira_asr.output import OutputFormat
from tests.client.fake_triton import FULL
from tests.client.test_cli import COMMAND, environment, run, write_wav

FILES = 60


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def texts(out):
    return {line["audio_filepath"]: line["text"] for line in lines(out / "manifest.jsonl")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings, each with a word of its own."""
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(1, FILES + 1):
        write_wav(folder / f"speaker{number % 3}" / f"{number}.wav", number, number)
    return folder


def test_a_folder_becomes_a_manifest(endpoint, folder, tmp_path):
    done = run(endpoint, "batch", str(folder), "--out", str(tmp_path / "out"), "--format", "srt")
    assert done.returncode == 0, done.stderr
    assert f"{FILES} recordings, 12 s of audio in" in done.stdout.decode()
    assert "× real time; 0 failed" in done.stdout.decode()
    found = lines(tmp_path / "out" / "manifest.jsonl")
    assert sorted(line["text"] for line in found) == sorted(f"w{n} w{n}" for n in range(1, FILES + 1))
    assert {line["duration"] for line in found} == {0.2}
    assert all(line["pred_text"] == line["text"] for line in found)
    assert len(list((tmp_path / "out" / "transcripts").rglob("*.wav.srt"))) == FILES
    assert "w5 w5" in (tmp_path / "out" / "transcripts" / "speaker2" / "5.wav.srt").read_text()


def test_killed_again_and_again_it_loses_nothing_and_repeats_nothing(endpoint, folder, tmp_path, threaded_triton):
    out = tmp_path / "out"
    rng = random.Random(0)
    kills = 0
    while not (out / "manifest.jsonl").exists() or len(texts(out)) < FILES:
        with subprocess.Popen(
            [*COMMAND, "batch", str(folder), "--out", str(out), "--workers", "3"],
            env=environment(endpoint),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            before = len(texts(out)) if (out / "manifest.jsonl").exists() else 0
            wanted = before + rng.randint(8, 20)
            while process.poll() is None:
                data = (out / "manifest.jsonl").read_bytes() if (out / "manifest.jsonl").exists() else b""
                if data.count(b"\n") >= wanted:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
                    break
                time.sleep(0.001)
    assert kills >= 2
    found = lines(out / "manifest.jsonl")
    assert len(found) == FILES, "a recording is there twice"
    assert texts(out) == {str(path): f"w{path.stem} w{path.stem}" for path in folder.rglob("*.wav")}
    assert len(threaded_triton.requests) <= FILES + 3 * kills, "finished recordings were recognised again"
    again = run(endpoint, "batch", str(folder), "--out", str(out))
    assert again.returncode == 0
    assert f"{FILES} of {FILES} recordings are done already" in again.stderr.decode()


def test_a_line_cut_short_is_done_again(tmp_path):
    path = tmp_path / "lines.jsonl"
    with Journal(path) as journal:
        for number in range(3):
            journal.append({"number": number, "name": os.fsdecode(b"\xff.wav")})
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with Journal(path) as journal:
            kept = [line["number"] for line in journal.lines]
            assert kept == list(range(whole[:cut].count(b"\n")))
            journal.append({"number": 9})
        with Journal(path) as journal:
            assert [line["number"] for line in journal.lines] == [*kept, 9]
    path.write_bytes(b"nonsense\n" + whole)
    with pytest.raises(ValueError, match=r"lines.jsonl, line 1 is no JSON object: b'nonsense'"):
        Journal(path)


def test_transcripts_stay_in_their_folder_wherever_a_manifest_points(tmp_path):
    manifests, out = tmp_path / "deep" / "manifests", tmp_path / "results" / "out"
    for name in ("deep/manifests/a.wav", "deep/b.wav", "c.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    paths = ["a.wav", "../b.wav", "../../c.wav", "../../deep/b.wav"]
    (manifests / "m.jsonl").write_text("".join(json.dumps({"audio_filepath": path}) + "\n" for path in paths))
    items = read_items([str(manifests / "m.jsonl")])
    assert [item.path for item in items] == [manifests / "a.wav", tmp_path / "deep" / "b.wav", tmp_path / "c.wav"]
    with Results(out, {}, OutputFormat.TEXT, common_folder(items)) as results:
        for item in items:
            results.add(item, Final("word", (), (), 1.0, 0.0), 1.0)
    written = {str(path.relative_to(out / "transcripts")) for path in tmp_path.rglob("*.wav.txt")}
    assert written == {"deep/manifests/a.wav.txt", "deep/b.wav.txt", "c.wav.txt"}


def test_a_manifest_keeps_what_it_says(endpoint, tmp_path):
    write_wav(tmp_path / "audio" / "a.wav", 10, 20, 30)
    entries = [
        {"audio_filepath": "audio/a.wav", "duration": 0.3, "text": "what was said", "speaker": "me"},
        {"audio_filepath": str(tmp_path / "audio" / "a.wav"), "offset": 0.1, "duration": 0.1},
        {"audio_filepath": "audio/a.wav", "duration": 0.3},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, entries)) + "\n\n")
    done = run(endpoint, "batch", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out"), "--workers", "1")
    assert done.returncode == 0, done.stderr
    path = str(tmp_path / "audio" / "a.wav")
    assert lines(tmp_path / "out" / "manifest.jsonl") == [
        {
            "audio_filepath": path,
            "duration": 0.3,
            "text": "what was said",
            "speaker": "me",
            "pred_text": "w10 w20 w30",
        },
        {"audio_filepath": path, "duration": 0.1, "offset": 0.1, "text": "w20", "pred_text": "w20"},
    ]


def test_failures_are_listed_and_tried_again_next_time(endpoint, tmp_path):
    write_wav(tmp_path / "in" / "good.wav", 10)
    (tmp_path / "in" / "bad.wav").write_text("no audio")
    for _ in range(2):
        done = run(endpoint, "batch", str(tmp_path / "in"), "--out", str(tmp_path / "out"))
        assert done.returncode == 1
        assert f"amira-asr: {tmp_path / 'in' / 'bad.wav'}: cannot be decoded" in done.stderr.decode()
        [failure] = lines(tmp_path / "out" / "failed.jsonl")
        assert failure["error"].startswith("cannot be decoded")
        assert list(texts(tmp_path / "out").values()) == ["w10"]
    write_wav(tmp_path / "in" / "bad.wav", 20)
    assert run(endpoint, "batch", str(tmp_path / "in"), "--out", str(tmp_path / "out")).returncode == 0
    assert sorted(texts(tmp_path / "out").values()) == ["w10", "w20"]
    assert lines(tmp_path / "out" / "failed.jsonl") == []


def test_a_file_is_tried_again_while_the_server_is_full(endpoint, tmp_path, threaded_triton):
    write_wav(tmp_path / "a.wav", 10)
    threaded_triton.fail_at.update({0: FULL, 1: FULL, 2: FULL, 3: FULL})  # more than one call of the client bears
    done = run(endpoint, "batch", str(tmp_path / "a.wav"), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr


def test_without_a_server_it_ends_and_says_how_to_go_on(tmp_path):
    for number in range(20):
        write_wav(tmp_path / "in" / f"{number}.wav", 10)
    done = run("127.0.0.1:9", "batch", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--retries", "0")
    assert done.returncode == 3
    assert "20 recordings are left; the same command goes on with them" in done.stderr.decode()
    assert "127.0.0.1:9" in done.stderr.decode()


def test_other_options_in_the_same_folder_are_refused(endpoint, tmp_path):
    write_wav(tmp_path / "a.wav", 10)
    arguments = ["batch", str(tmp_path / "a.wav"), "--out", str(tmp_path / "out")]
    assert run(endpoint, *arguments).returncode == 0
    done = run(endpoint, *arguments, "--beam-size", "4")
    assert done.returncode == 2
    assert "holds results made otherwise" in " ".join(done.stderr.decode().replace("│", " ").split())


def test_two_runs_do_not_share_a_folder(tmp_path):
    with (
        Results(tmp_path, {}),
        pytest.raises(ResultsError, match="another run is at work"),
        Results(tmp_path, {}),
    ):
        pass
    (tmp_path / "manifest.jsonl").write_text('{"no": "path"}\n')
    with pytest.raises(ResultsError, match=r"manifest.jsonl is not what a batch writes"), Results(tmp_path, {}):
        pass


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"duration": 1}',
        '{"audio_filepath": "a.wav", "offset": "soon", "duration": 1}',
    ],
)
def test_a_wrong_manifest_is_refused_with_its_line(tmp_path, line):
    (tmp_path / "in.jsonl").write_text('{"audio_filepath": "a.wav"}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"in.jsonl, line 2: should be a JSON object with audio_filepath"):
        read_items([str(tmp_path / "in.jsonl")])


@pytest.mark.parametrize(
    "part", ['"offset": NaN', '"offset": -1', '"offset": 0, "duration": 0', '"offset": 0, "duration": Infinity']
)
def test_a_part_that_cannot_be_is_refused_with_its_line(tmp_path, part):
    manifest = tmp_path / "in.jsonl"
    manifest.write_text(f'{{"audio_filepath": "a.wav", {part}}}\n')
    with pytest.raises(ValueError, match=r"in.jsonl, line 1: offset is .*, duration .*; allowed: from 0, above 0"):
        read_items([str(manifest)])
