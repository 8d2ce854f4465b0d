"""The graph that searches whole chunks, against the search that asks the joint once for each label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.raw_pipeline import read_config
from rnnt_decoder.decoder import Chunk, Decoder
from rnnt_decoder.greedy import GreedySearch
from rnnt_decoder.local_joint import local_joint

REPOSITORY = Path(__file__).parents[2] / "model-repo"
DIM = 144


@pytest.fixture(scope="module")
def joint():
    graphs = [REPOSITORY / name / "1" / "model.onnx" for name in ("decoder_joint", "decoder_greedy")]
    return replace(local_joint(*graphs), most_searched=None)


@pytest.fixture(scope="module")
def decoder():
    return Decoder.configured(read_config(REPOSITORY / "decoder"), REPOSITORY / "decoder" / "1")


def decode(decoder, joint, rows, parameters=None):
    """Decode the pieces of each row, all rows together; return their tokens and the calls' states."""
    streams = [decoder.new_stream() for _ in rows]
    for stream in streams:
        decoder.prepare(stream, parameters or {}, start=True)
    for number in range(max(map(len, rows))):
        chunks = [
            Chunk(stream, row[number], finalize=False, end=False)
            for stream, row in zip(streams, rows, strict=True)
            if number < len(row)
        ]
        decoder.decode(chunks, joint)
    return [stream.search for stream in streams], [stream.frames for stream in streams]


class Refusing:
    """A graph that must not be run."""

    def __call__(self, names, inputs):
        raise AssertionError("asked")


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.lists(st.integers(0, 10), min_size=1, max_size=4), min_size=1, max_size=12),
    limits=st.tuples(st.sampled_from([1, 2, 10]), st.sampled_from([1, 3, 7, 16])),
)
def test_it_finds_what_the_loop_finds(joint, decoder, seed, lengths, limits):
    random = np.random.default_rng(seed)
    loudness = random.choice([0.3, 1.0, 2.0])
    rows = [[loudness * random.standard_normal((n, DIM)).astype(np.float32) for n in row] for row in lengths]
    greedy = GreedySearch(decoder.shape.blank_id, *limits, decoder.vocabulary)
    limited = replace(decoder, greedy=greedy)
    found, frames = decode(limited, replace(joint, joint=Refusing()), rows)
    expected, expected_frames = decode(limited, replace(joint, greedy=None), rows)
    assert frames == expected_frames == [sum(row) for row in lengths]
    for one, other in zip(found, expected, strict=True):
        assert (one.tokens.ids, one.tokens.frames) == (other.tokens.ids, other.tokens.frames)
        assert (one.last_label, one.symbols) == (other.last_label, other.symbols)
        for name in ("log_probs", "confidences"):
            np.testing.assert_allclose(getattr(one.tokens, name), getattr(other.tokens, name), atol=1e-5)
        np.testing.assert_allclose(one.state_h, other.state_h, atol=1e-5)
        np.testing.assert_allclose(one.state_c, other.state_c, atol=1e-5)


def test_streams_that_want_something_between_labels_are_not_given_to_it(joint, decoder):
    rows = [[np.random.default_rng(1).standard_normal((7, DIM)).astype(np.float32)]]
    for parameters in ({"endpointing": True}, {"phrases": '["hello"]'}):
        searches, _ = decode(decoder, replace(joint, greedy=Refusing()), rows, parameters)
        assert searches[0].tokens.ids


def test_a_failing_call_leaves_the_hypotheses_as_they_were(joint, decoder):
    def failing(names, inputs):
        raise RuntimeError("decoder_greedy: gone")

    stream = decoder.new_stream()
    decoder.prepare(stream, {}, start=True)
    chunk = Chunk(stream, np.ones((7, DIM), np.float32), finalize=False, end=False)
    with pytest.raises(RuntimeError, match="gone"):
        decoder.decode([chunk], replace(joint, greedy=failing))
    assert (stream.frames, stream.search.tokens.ids, stream.search.last_label) == (0, [], decoder.shape.blank_id)


def test_streams_that_call_different_graphs_are_decoded_apart(joint, decoder):
    def chunk(parameters):
        stream = decoder.new_stream()
        decoder.prepare(stream, parameters, start=True)
        return Chunk(stream, np.ones((7, DIM), np.float32), finalize=False, end=False)

    beam, plain, rules, other = (chunk(one) for one in ({"beam_size": 2}, {}, {"endpointing": True}, {}))
    chunks = [beam, plain, rules, other]

    def groups(graphs):
        return [
            [next(at for at, two in enumerate(chunks) if two is one) for one in group]
            for group in decoder.groups(chunks, graphs)
        ]

    assert groups(joint) == [[1, 3], [2], [0]]
    assert groups(replace(joint, greedy=None)) == [[1, 2, 3], [0]]  # one call for both kinds of greedy search
    assert decoder.groups([beam], joint) == [[beam]]


def test_within_one_process_many_rows_are_asked_about_label_by_label():
    graphs = [REPOSITORY / name / "1" / "model.onnx" for name in ("decoder_joint", "decoder_greedy")]
    assert [local_joint(*graphs).can_search(rows) for rows in (1, 8, 9)] == [True, True, False]
    assert not local_joint(graphs[0]).can_search(1)
