"""The command line against a fake server."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
import wave

import numpy as np
import pytest

from amira_asr.cli_stream import last_words
from amira_asr.cli_transcribe import plan
from amira_asr.output import OutputFormat
from tests.client.fake_triton import chunk, words
from tests.conftest import ROOT

COMMAND = [sys.executable, "-c", "from amira_asr.cli import main; main()"]


def environment(endpoint):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AMIRA_")}
    return {**clean, "AMIRA_TRITON_ENDPOINT": endpoint, "PYTHONPATH": str(ROOT / "clients")}


def run(endpoint, *arguments, cwd=None, standard_input=b""):
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(endpoint),
        input=standard_input,
        capture_output=True,
        timeout=60,
        check=False,
    )


def write_wav(path, *levels):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(pcm(*levels))
    return path


def pcm(*levels):
    return np.concatenate([np.round(chunk(level) * 32768).astype("<i2") for level in levels]).tobytes()


def test_transcribe_folders_patterns_and_missing_files(endpoint, tmp_path):
    write_wav(tmp_path / "in" / "b.wav", 20)
    write_wav(tmp_path / "in" / "deep" / "a.wav", 10)
    write_wav(tmp_path / "c1.wav", 30)
    (tmp_path / "in" / "notes.txt").write_text("not audio")
    done = run(endpoint, "transcribe", "in", "c*.wav", "gone.wav", "--format", "text", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == ["in/b.wav\tw20", "in/deep/a.wav\tw10", "c1.wav\tw30"]
    assert done.stderr.decode().strip() == "amira-asr: gone.wav: no such file"


def test_transcribe_json_lines_name_their_file(endpoint, tmp_path):
    for level in (10, 20):
        write_wav(tmp_path / f"{level}.wav", level)
    done = run(endpoint, "transcribe", "10.wav", "20.wav", "--format", "json", cwd=tmp_path)
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [(line["file"], line["text"]) for line in lines] == [("10.wav", "w10"), ("20.wav", "w20")]
    assert done.returncode == 0


@pytest.mark.parametrize(("form", "ending"), [("text", "txt"), ("json", "json"), ("srt", "srt"), ("vtt", "vtt")])
def test_output_files(endpoint, tmp_path, form, ending):
    write_wav(tmp_path / "talk.wav", 10, 20)
    done = run(endpoint, "transcribe", "talk.wav", "--format", form, "--output-dir", "new/out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert words(10) in (tmp_path / "new" / "out" / f"talk.{ending}").read_text()


def test_plans_that_would_lose_transcripts_are_refused(tmp_path):
    names = [str(write_wav(tmp_path / name, 1)) for name in ("a/x.wav", "b/x.wav", "b/y.wav")]
    with pytest.raises(ValueError, match=r"x.txt would hold the transcripts of 2 recordings: .*a/x.wav, .*b/x.wav"):
        plan(names, OutputFormat.TEXT, tmp_path)
    with pytest.raises(ValueError, match="3 recordings as srt need --output-dir"):
        plan(names, OutputFormat.SRT, None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no audio files \(.aac, .flac"):
        plan([str(tmp_path / "empty")], OutputFormat.TEXT, None)
    assert [job.target for job in plan(names[1:], OutputFormat.SRT, tmp_path)] == [
        tmp_path / "x.srt",
        tmp_path / "y.srt",
    ]
    assert plan([str(tmp_path / "none" / "*.wav")], OutputFormat.TEXT, None)[0].source.name == "*.wav"


def test_stream_raw_pcm(endpoint):
    stereo = np.repeat(np.frombuffer(pcm(10, 20), "<i2"), 2).tobytes()
    done = run(endpoint, "stream", "-", "--channels", "2", "--stats", standard_input=stereo)
    assert done.stdout.decode() == "w10 w20\n"
    assert done.stderr.decode().startswith("3 chunks, latency p50")
    floats = np.concatenate([chunk(10), chunk(20)]).tobytes()
    assert run(endpoint, "stream", "-", "--format", "f32le", standard_input=floats).stdout == b"w10 w20\n"


def test_decoding_options_reach_the_server_with_start(endpoint, threaded_triton, tmp_path):
    (tmp_path / "phrases.txt").write_text("new york\nhello there\t2.5\n\n")
    options = ["--beam-size", "4", "--phrases", str(tmp_path / "phrases.txt"), "--lm-weight", "0.25"]
    asked = {"beam_size": 4, "phrases": '["new york", {"text": "hello there", "weight": 2.5}]', "lm_weight": "0.25"}
    streaming = [*options, "--endpointing", "--endpoint-silence-ms", "600", "--vad-gate"]
    done = run(endpoint, "stream", "-", *streaming, standard_input=pcm(10, 20))
    assert done.stdout == b"w10 w20\n"
    segments = {"endpointing": True, "endpoint_silence_ms": 600, "vad_gate": True}
    assert threaded_triton.parameters == [{**asked, **segments}, {}, {}]
    threaded_triton.parameters.clear()
    assert run(endpoint, "transcribe", str(write_wav(tmp_path / "a.wav", 10)), *options).stdout == b"w10\n"
    assert threaded_triton.parameters == [asked]


def test_a_file_of_phrases_that_cannot_be_read_is_named(endpoint, tmp_path):
    (tmp_path / "phrases.txt").write_text("hello\tloud\n")
    done = run(endpoint, "stream", "-", "--phrases", str(tmp_path / "phrases.txt"))
    assert done.returncode == 2
    assert "weight 'loud' is not a" in " ".join(done.stderr.decode().split())


def test_stream_shows_raw_pcm_as_soon_as_it_comes(endpoint):
    with subprocess.Popen(
        [*COMMAND, "stream", "-", "--json"],
        env=environment(endpoint),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdin.write(pcm(10))  # one chunk, far less than a pipe's buffer
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["text"] == "w10"
        process.stdin.close()
        assert json.loads(process.stdout.readline())["type"] == "final"


def test_interrupting_a_stream_still_gives_the_final_text(endpoint, tmp_path, threaded_triton):
    path = write_wav(tmp_path / "long.wav", *range(1, 100))
    with subprocess.Popen(
        [*COMMAND, "stream", str(path), "--json"], env=environment(endpoint), stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        events = [json.loads(line) for line in process.stdout]
    assert process.returncode == 0
    assert time.monotonic() - began < 8  # of the 10 s that it would take
    assert events[-1]["type"] == "final"
    assert 1 <= len(events[-1]["words"]) < 50
    assert not threaded_triton.heard


def test_on_a_terminal_partials_grow_on_one_line(endpoint, tmp_path):
    path = write_wav(tmp_path / "long.wav", *range(1, 60))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "stream", str(path), "--fast"],
        env={**environment(endpoint), "TERM": "xterm", "COLUMNS": "60"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        output = process.stdout.read()
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:  # the terminal is closed
        pass
    os.close(ours)
    assert output.decode() == words(*range(1, 60)) + "\n"
    assert b"\n" not in shown[: shown.rfind(b"w58")], "a partial took more than one line"
    assert "…" in shown.decode()
    assert b"w58" in shown
    assert shown.endswith(b"\x1b[?25h") or shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l"), "the cursor is hidden"


def test_last_words():
    assert last_words("one two", 20) == "one two"
    assert last_words("one two three", 10) == "…wo three"


def test_the_microphone_until_interrupted(endpoint, tmp_path):
    (tmp_path / "sounddevice.py").write_text(
        textwrap.dedent("""
            import contextlib, threading, time
            import numpy as np
            class PortAudioError(Exception): pass
            @contextlib.contextmanager
            def RawInputStream(samplerate, channels, dtype, blocksize, callback):
                assert (samplerate, channels, dtype) == (16000, 1, "int16")
                def feed():
                    while True:
                        callback(np.full(blocksize, 0.01 * 32768).astype("<i2").tobytes(), blocksize, None, None)
                        time.sleep(blocksize / samplerate)
                threading.Thread(target=feed, daemon=True).start()
                yield
        """)
    )
    variables = environment(endpoint)
    variables["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
    with subprocess.Popen(
        [*COMMAND, "stream", "mic", "--json"], env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        heard = next(line for line in process.stdout if b"w10 w10" in line)
        process.send_signal(signal.SIGINT)
        *_, last = [json.loads(line) for line in [heard, *process.stdout]]
    assert process.returncode == 0
    assert last["type"] == "final"
    assert last["text"].startswith("w10 w10")


def test_errors_are_one_line(endpoint, tmp_path):
    for arguments, message in [
        (
            ["models", "--endpoint", "nowhere"],
            "command line: setting 'triton_endpoint' is 'nowhere'; it should be host:port",
        ),
        (["models", "--endpoint", "127.0.0.1:9"], "no server at 127.0.0.1:9"),
        (["stream", "gone.wav"], "gone.wav: no such file"),
        (["stream", "-", "--rate", "5"], "sample_rate is 5; allowed: 1000 to 768000 Hz"),
    ]:
        done = run(endpoint, *arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.decode().startswith(f"amira-asr: {message}"), done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
    (tmp_path / "config.yaml").write_text("bogus: 1\n")
    done = run(endpoint, "--print-config", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("amira-asr: config.yaml: unknown setting 'bogus'")


def test_models(endpoint):
    done = run(endpoint, "models")
    assert [line.split() for line in done.stdout.decode().splitlines()] == [
        ["name", "version", "ready", "kind", "rate", "chunk", "longest"],
        ["asr_batch", "1", "yes", "batch", "16000", "Hz", "-", "2", "s,", "then", "split"],
        ["asr_streaming", "1", "yes", "streaming", "16000", "Hz", "100", "ms", "unlimited"],
    ]


def test_print_config(endpoint, tmp_path):
    (tmp_path / "config.toml").write_text("grpc_port = 7001\n")
    assert run(endpoint, "--version", cwd=tmp_path).stdout.decode().startswith("amira-asr 0.")
    for arguments in (["--print-config"], ["config"]):
        output = run(endpoint, *arguments, cwd=tmp_path).stdout.decode()
        assert f'triton_endpoint = "{endpoint}"  # environment' in output
        assert "grpc_port = 7001  # config.toml" in output
