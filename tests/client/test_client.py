"""The blocking client: threads, interruption, closing."""

from __future__ import annotations

import gc
import itertools
import signal
import socket
import threading
import time

import pytest

from amira_asr import AmiraError, AsrClient, ClientClosed, Final, ServerUnavailable, Settings, SettingsError
from tests.client.fake_triton import chunk, words


@pytest.fixture
def client(endpoint):
    with AsrClient(Settings(triton_endpoint=endpoint, inference_timeout_secs=5)) as client:
        yield client


def test_stream(client):
    events = list(client.stream([chunk(1), chunk(2)]))
    assert [event.text for event in events] == ["w1", "w1 w2", "w1 w2"]
    assert type(events[-1]) is Final


def test_partials_come_while_the_audio_waits(client):
    released = threading.Event()

    def microphone():
        yield chunk(1)
        assert released.wait(5)
        yield chunk(2)

    events = client.stream(microphone())
    assert next(events).text == "w1"
    released.set()
    assert [event.text for event in events][-1] == "w1 w2"


def test_several_threads_share_a_client(client):
    texts = {}

    def run(first):
        texts[first] = list(client.stream([chunk(level) for level in range(first, first + 20)]))[-1].text

    threads = [threading.Thread(target=run, args=(first,)) for first in range(1, 400, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert texts == {first: words(*range(first, first + 20)) for first in range(1, 400, 40)}


def test_leaving_early_ends_the_sequence_before_going_on(client, threaded_triton):
    for _ in client.stream(chunk(level) for level in itertools.count(1)):
        break
    gc.collect()
    assert not threaded_triton.heard


def test_interrupting_ends_the_sequence(client, threaded_triton):
    def microphone():
        yield chunk(1)
        time.sleep(60)

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(client.stream(microphone()))
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert not threaded_triton.heard
    assert threaded_triton.requests[-1][3]


def interrupt(_signal, _frame):
    raise KeyboardInterrupt


def test_closing_ends_streams_and_later_calls_say_so(endpoint, threaded_triton):
    client = AsrClient(Settings(triton_endpoint=endpoint))
    events = client.stream(chunk(level) for level in itertools.count(1))
    next(events)
    client.close()
    client.close()
    assert not threaded_triton.heard
    with pytest.raises(ServerUnavailable, match="this client is closed"):
        client.models()
    events.close()


@pytest.mark.parametrize("call", ["models", "transcribe", "stream"])
def test_closing_ends_what_other_threads_wait_for(call):
    calls = {
        "models": lambda client: client.models(),
        "transcribe": lambda client: client.transcribe(chunk(1)),
        "stream": lambda client: list(client.stream([chunk(1)])),
    }
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = AsrClient(Settings(triton_endpoint=f"127.0.0.1:{silent.getsockname()[1]}"))
        errors = []
        waiting = threading.Thread(target=lambda: errors.append(error_of(calls[call], client)), daemon=True)
        waiting.start()
        time.sleep(0.2)
        client.close()
        waiting.join(5)
    assert [type(error) for error in errors] == [ClientClosed]


def test_calls_that_meet_closing_do_not_wait_for_ever(endpoint):
    def call_until_closed(client, errors):
        while not errors:
            if (error := error_of(AsrClient.is_ready, client)) is not None:
                errors.append(error)

    for _ in range(20):
        client = AsrClient(Settings(triton_endpoint=endpoint))
        found = [[] for _ in range(4)]
        threads = [threading.Thread(target=call_until_closed, args=(client, errors), daemon=True) for errors in found]
        for thread in threads:
            thread.start()
        time.sleep(0.005)
        client.close()
        for thread in threads:
            thread.join(5)
        assert [type(error) for errors in found for error in errors] == [ClientClosed] * 4


def error_of(call, client):
    """What a call raises; None when it returns."""
    try:
        call(client)
    except AmiraError as error:
        return error
    return None


def test_a_stream_in_garbage_does_not_stop_the_client(client, threaded_triton):
    events = client.stream(chunk(level) for level in itertools.count(1))
    next(events)
    cycle = [events]
    cycle.append(cycle)
    del events, cycle
    client._run(collect())  # the collector may run in the client's own thread
    assert list(client.stream([chunk(7)]))[-1].text == "w7"
    for _ in range(200):
        if not threaded_triton.heard:
            break
        time.sleep(0.01)
    assert not threaded_triton.heard


async def collect():
    gc.collect()


def test_settings_come_from_the_files_by_default(tmp_path, monkeypatch, endpoint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(f'triton_endpoint = "{endpoint}"\n')
    with AsrClient() as client:
        assert len(client.models()) == 2
    (tmp_path / "config.toml").write_text('triton_endpont = "x:1"\n')
    with pytest.raises(SettingsError, match="did you mean 'triton_endpoint'"):
        AsrClient()
