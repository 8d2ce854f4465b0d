"""The metrics of a running server, after traffic whose numbers are known."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections import Counter

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from common import metric_catalogue as catalogue
from tests.server.streams import CHUNK, Streams, new_id, stream_interleaved

pytestmark = pytest.mark.server


def scrape(server):
    """All samples, (name, labels) -> value."""
    with urllib.request.urlopen(server.metrics_url, timeout=5) as response:
        families = text_string_to_metric_families(response.read().decode())
    return Counter(
        {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }
    )


def grown(before, after, metric, **labels):
    """By how much a series grew."""
    key = (metric if isinstance(metric, str) else metric.name, tuple(sorted(labels.items())))
    assert key in after, key
    return after[key] - before[key]


def settle(server):
    """Scrape when everything has been published."""
    time.sleep(2.2)  # a publication may wait for its turn on a busy machine
    return scrape(server)


def test_counts_of_streams_chunks_audio_labels_and_errors(server, speech):
    streams = Streams(server.grpc_endpoint)
    before = settle(server)
    answers = streams.stream(speech)
    utterance = streams.batch(speech)

    failed = new_id()
    streams.send(failed, speech[:CHUNK], start=True)
    with pytest.raises(InferenceServerException, match="must have exactly"):
        streams.send(failed, speech[:100])
    streams.send(failed, np.zeros(0, np.float32), end=True)

    replaced = new_id()
    streams.send(replaced, speech[:CHUNK], start=True)
    streams.send(replaced, speech[:CHUNK], start=True, end=True)
    after = settle(server)

    def count(metric, model, **labels):
        return grown(before, after, metric, model=model, **labels)

    assert count(catalogue.STREAMS_STARTED, "preprocessor") == 4
    ends = {
        cause: count(catalogue.STREAMS_ENDED, "preprocessor", cause=cause) for cause in ("end", "error", "replaced")
    }
    assert ends == {"end": 2, "error": 1, "replaced": 1}
    ended = sum(value for (name, _), value in after.items() if name == "amira_streams_ended_total")
    started, live = (
        after[name, (("model", "preprocessor"),)] for name in ("amira_streams_started_total", "amira_streams_live")
    )
    assert live == started - ended  # those that other tests have left are live
    assert after["amira_streams_limit", (("model", "preprocessor"),)] == 256
    assert count(catalogue.CHUNKS, "preprocessor") == len(answers) + 3
    seconds = len(speech) / 16000 + 3 * 0.56
    assert count(catalogue.AUDIO_SECONDS, "preprocessor") == pytest.approx(seconds)
    assert count(catalogue.AUDIO_SECONDS, "preprocessor_batch") == pytest.approx(len(speech) / 16000)
    assert count(catalogue.ERRORS, "preprocessor", kind="request") == 1
    assert count(catalogue.ERRORS, "preprocessor", kind="internal") == 0
    # The other two streams are a chunk long; what is recognised in it counts, too.
    assert count(catalogue.LABELS, "decoder") >= len(answers[-1].tokens) > 0
    assert count(catalogue.LABELS, "decoder_batch") == len(utterance.tokens)
    assert count(catalogue.SEGMENTS, "decoder", rule="end") == 3
    assert count(catalogue.JOINT_CALLS, "decoder") >= len(answers)
    assert count(catalogue.JOINT_ROWS, "decoder") >= count(catalogue.JOINT_CALLS, "decoder")
    assert (
        after["amira_cache_slots_used", (("model", "encoder"),)] <= after["amira_cache_slots", (("model", "encoder"),)]
    )
    assert after["amira_cache_slots", (("model", "encoder"),)] >= 8
    assert count("amira_batch_size_sum", "encoder") == len(answers) + 4
    assert count("amira_first_partial_seconds_count", "decoder") >= 1
    assert count("amira_final_seconds_count", "decoder") == 3
    assert 0 < count("amira_final_seconds_sum", "decoder") < 30
    for model in ("preprocessor", "encoder", "decoder"):  # which runs the joint, too
        assert 0 < count(catalogue.EXECUTE_SECONDS, model) < 60
        assert 0 < count(catalogue.CPU_SECONDS, model) < 60
        assert after["amira_resident_memory_bytes", (("model", model),)] > 20e6


def test_every_metric_of_the_catalogue_is_served_under_its_type(server):
    with urllib.request.urlopen(server.metrics_url, timeout=5) as response:
        text = response.read().decode()
    served = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE amira_"))
    assert served == {metric.name: metric.kind for metric in catalogue.ALL}


def test_many_streams_at_once_do_not_lose_a_count(server, speech):
    """Published by a thread beside the one that works: neither may trip over the other."""
    before = settle(server)
    asyncio.run(stream_interleaved(server.grpc_endpoint, [speech[: 4 * CHUNK]] * 20, max_pause_secs=0.005))
    after = settle(server)
    assert grown(before, after, catalogue.CHUNKS, model="preprocessor") == 80
    assert grown(before, after, catalogue.STREAMS_ENDED, model="preprocessor", cause="end") == 20
    for model in ("preprocessor", "encoder", "decoder"):
        assert grown(before, after, "amira_batch_size_sum", model=model) == 80
