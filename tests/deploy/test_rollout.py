"""A pod that goes, without a cluster, while streams run: not a word is lost.

Command, settings, probes, hook and grace period are the Deployment's own, applied to a real server.
"""

from __future__ import annotations

import threading
import time

import pytest
from tritonclient.utils import InferenceServerException

from tests.deploy.kubelet import LocalPod
from tests.deploy.manifests import render
from tests.server.streams import Streams, chunks_of, new_id


@pytest.fixture
def pod(tmp_path):
    pod = LocalPod(render("cpu"), "cpu", tmp_path)
    pod.start()
    yield pod
    pod.stop()


def test_streams_outlive_the_deletion_of_their_pod(pod, clips):
    assert pod.ready()
    streams = Streams(f"127.0.0.1:{pod.ports['grpc']}")
    expected = {clip.name: streams.stream(clip.audio)[-1].tokens for clip in clips}
    signalled, closed, running = threading.Event(), threading.Event(), threading.Barrier(len(clips) + 1)
    finals = {}

    def speak(clip):
        """Half of it before the pod is told to go, the rest after."""
        own = Streams(f"127.0.0.1:{pod.ports['grpc']}")
        sequence_id, chunks = new_id(), chunks_of(clip.audio)
        for index, chunk in enumerate(chunks):
            response = own.send(sequence_id, chunk, start=index == 0, end=index == len(chunks) - 1)
            if index == len(chunks) // 2:
                running.wait(30)
                closed.wait(90)  # the server stops by now
        finals[clip.name] = response

    def during_the_hook():
        """Proxies that do not know yet still send new streams: they are served."""
        assert pod.ready()
        assert streams.stream(clips[0].audio)[-1].tokens == expected[clips[0].name]
        signalled.set()

    speakers = [threading.Thread(target=speak, args=(clip,)) for clip in clips]
    for speaker in speakers:
        speaker.start()
    running.wait(30)
    refused = threading.Thread(target=_refused, args=(pod, clips[0].audio, signalled, closed, refusals := []))
    refused.start()
    status, left = pod.delete(during_the_hook)
    for thread in [*speakers, refused]:
        thread.join(30)
    assert status == 0, pod.log.read_text()
    assert left > 0
    assert {name: final.tokens for name, final in finals.items()} == expected
    assert all(final.is_final for final in finals.values())
    assert ["server is stopping" in text for text in refusals] == [True]
    assert pod.restarts == 0
    assert "ready: gRPC" in pod.log.read_text()
    assert "Started GRPCInferenceService" in pod.log.read_text(), "containers log to the terminal"


def _refused(pod, audio, signalled, closed, refusals):
    """Once the readiness probe says that the server stops, try to begin a stream."""
    signalled.wait(60)
    deadline = time.monotonic() + 30
    while pod.ready() and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        Streams(f"127.0.0.1:{pod.ports['grpc']}").send(new_id(), chunks_of(audio)[0], start=True, end=True)
    except InferenceServerException as error:
        refusals.append(str(error))
    closed.set()
