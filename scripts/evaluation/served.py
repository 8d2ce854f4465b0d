"""A model repository, served and asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psutil

from amira_asr import AsrClient, DecodingOptions, Final, Settings
from amira_asr.audio import Float32
from scripts.evaluation.recordings import Utterance
from scripts.evaluation.scores import Recognition

SERVER_DEFAULTS = DecodingOptions()


@contextmanager
def connect(endpoint: str) -> Iterator[AsrClient]:
    """Connect to a server with default settings, whatever the environment says."""
    with AsrClient(Settings(triton_endpoint=endpoint)) as client:
        yield client


def stream(client: AsrClient, audio: Float32, options: DecodingOptions = SERVER_DEFAULTS) -> Final:
    """Stream [samples] at full speed; return the final transcript. Raises RuntimeError when none came."""
    final: Final | None = None
    for event in client.stream([audio], options=options):
        if isinstance(event, Final):
            final = event
    if final is None:
        raise RuntimeError("the stream ended without a final transcript")
    return final


def chunk_ms(client: AsrClient) -> float:
    """Duration of the chunks that the server takes. Raises RuntimeError when it has no streaming recogniser."""
    for model in client.models():
        if model.streaming:
            return model.chunk_ms
    raise RuntimeError("the server has no streaming recogniser")


def recognise_all(
    utterances: Sequence[Utterance],
    recognise: Callable[[Float32], str],
    clock: Callable[[], float] = time.perf_counter,
) -> list[Recognition]:
    """Recognise one recording after the other.

    Args:
        utterances: the recordings.
        recognise: text of [samples].
        clock: seconds; the difference around each call is what it took.
    """
    recognitions = []
    for utterance in utterances:
        began = clock()
        text = recognise(utterance.audio)
        recognitions.append(Recognition(utterance, text, clock() - began))
    return recognitions


def processor_secs(pid: int) -> float:
    """Return processor seconds spent so far by a process and everything it started."""
    root = psutil.Process(pid)
    times = [process.cpu_times() for process in [root, *root.children(recursive=True)]]
    return sum(item.user + item.system for item in times)
