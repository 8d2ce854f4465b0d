"""What Locust's users say is said here, in a process that gevent has not patched.

gRPC under gevent's patches polls, and its polls are what one would measure: at 16 callers the same idle server answered
a chunk in 16 ms (median) when threads asked and in 75 ms when greenlets did. So each Locust process starts this one,
every user has a connection of its own to it, and a thread here speaks for the user and says what it saw.

A request is a line of JSON, the fields of `Call`; the answer a line with those of `Heard`.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import socketserver
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tritonclient import grpc

from amira_asr.audio import MODEL_SAMPLE_RATE
from loadtest.recordings import Recordings
from loadtest.session import Recogniser, StreamFailed, speak

_BATCH_TIMEOUT_SECS = 60.0


@dataclass(frozen=True)
class Call:
    """What a user wants to be said.

    Attributes:
        kind: "stream", or "recording" for a whole one at once.
        seed: chooses what is said; the same seed says the same.
        begin: share of the audio before the first chunk sent, 0 to 1: a caller who was cut off says the rest.
        end: share of the audio after which the caller hangs up without END; None to say all of it.
    """

    kind: str
    seed: int
    begin: float = 0.0
    end: float | None = None


@dataclass(frozen=True)
class Heard:
    """What a call saw.

    Attributes:
        took_ms: from the first thing sent to the last received.
        audio_secs: audio sent.
        chunk_ms: from sending each chunk to its response.
        first_partial_ms: from sending the first chunk to the first response with text; None without text.
        final_ms: from sending END to its response; None after a hang-up.
        late_chunks: responses that came after the next chunk was due.
        chunk_length_ms: of the recogniser.
        error: what went wrong; None when nothing did.
    """

    took_ms: float
    audio_secs: float = 0.0
    chunk_ms: tuple[float, ...] = ()
    first_partial_ms: float | None = None
    final_ms: float | None = None
    late_chunks: int = 0
    chunk_length_ms: float = 0.0
    error: str | None = None


class Speakers:
    """The process, as its parent sees it; safe under gevent."""

    def __init__(self, endpoint: str, model: str, recordings: Path) -> None:
        """Start it and wait until it listens."""
        self._folder = tempfile.TemporaryDirectory()
        self._path = f"{self._folder.name}/speakers"
        command = [sys.executable, "-m", "loadtest.speakers", endpoint, model, str(recordings), self._path]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[1])
        if not (self._process.stdout and self._process.stdout.readline()):
            raise RuntimeError(f"the speakers of the load test ended with status {self._process.wait()}")

    def line(self) -> Line:
        """A connection for one user."""
        return Line(self._path)

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()


class Line:
    """One user's connection to the process."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._file = self._socket.makefile("rw")

    def say(self, call: Call) -> Heard:
        """Have it said; wait until it was."""
        self._file.write(json.dumps(asdict(call)) + "\n")
        self._file.flush()
        return Heard(**json.loads(self._file.readline()))

    def close(self) -> None:
        """Leave."""
        self._file.close()
        self._socket.close()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, path: str, endpoint: str, model: str, recordings: Recordings) -> None:
        super().__init__(path, _Speaker)
        self.endpoint, self.model, self.recordings = endpoint, model, recordings


class _Speaker(socketserver.StreamRequestHandler):
    """A user's thread, with a gRPC connection of its own."""

    server: _Server

    def handle(self) -> None:
        """Say what the user wants until it leaves."""
        client = grpc.InferenceServerClient(self.server.endpoint)
        for line in self.rfile:
            call, began = Call(**json.loads(line)), time.perf_counter()
            try:
                heard = self._stream(client, call) if call.kind == "stream" else self._recording(client, call)
            except Exception as error:  # whatever the server or the connection says is a result
                heard = Heard(_ms(began), error=str(error))
            self.wfile.write(json.dumps(asdict(heard)).encode() + b"\n")
        client.close()

    def _stream(self, client: grpc.InferenceServerClient, call: Call) -> Heard:
        began = time.perf_counter()
        recogniser = Recogniser.of(client, self.server.model)
        audio, size = self.server.recordings.turn(random.Random(call.seed)), recogniser.chunk_samples
        chunks = -(-len(audio) // size)
        first = min(chunks - 1, round(call.begin * chunks))
        last = None if call.end is None else max(1, round(call.end * chunks) - first)
        try:
            report = speak(client, recogniser, audio[first * size :], hang_up_after=last)
        except StreamFailed as error:
            return Heard(_ms(began), error=str(error))
        return Heard(
            _ms(began),
            report.audio_secs,
            tuple(report.chunk_ms),
            report.first_partial_ms,
            report.final_ms,
            report.late_chunks,
            recogniser.chunk_secs * 1e3,
        )

    def _recording(self, client: grpc.InferenceServerClient, call: Call) -> Heard:
        audio = self.server.recordings.utterance(random.Random(call.seed))
        tensor = grpc.InferInput("AUDIO", [1, len(audio)], "FP32")
        tensor.set_data_from_numpy(audio[None])
        began = time.perf_counter()
        client.infer(self.server.model.replace("streaming", "batch"), [tensor], client_timeout=_BATCH_TIMEOUT_SECS)
        return Heard(_ms(began), len(audio) / MODEL_SAMPLE_RATE)


def _ms(began: float) -> float:
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    """Listen until terminated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint", help="of the server, host:port")
    parser.add_argument("model", help="streaming ensemble")
    parser.add_argument("recordings", type=Path, help="folder of what users say")
    parser.add_argument("socket", help="where to listen")
    arguments: Any = parser.parse_args()
    recordings = Recordings.read(arguments.recordings)
    with _Server(arguments.socket, arguments.endpoint, arguments.model, recordings) as server:
        print("listening", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
