"""Greedy tokens, their frames, words and confidences against NeMo's greedy decoding. Needs NeMo."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nemo.collections.asr", reason="NeMo lives in its own environment: make test-nemo")

import torch
from nemo.collections.asr.parts.submodules.rnnt_decoding import RNNTBPEDecoding
from omegaconf import OmegaConf

from rnnt_decoder.confidence import confidence
from rnnt_decoder.tokens import Tokens, words
from tests.export.pairs import PLAIN, pair

CHUNKINGS = pytest.mark.parametrize("seed", [None, 1], ids=["offline", "in random chunks"])
MODELS = pytest.mark.parametrize("name", [*PLAIN, "TDT"])


@functools.cache
@torch.no_grad()
def nemo_greedy(name: str) -> list[Any]:
    """Return NeMo's hypotheses with frames, word offsets and confidences in its default method."""
    both = pair(name)
    wanted = {"compute_timestamps": True, "confidence_cfg": {"preserve_word_confidence": True}}
    decoding = RNNTBPEDecoding(
        OmegaConf.create(OmegaConf.to_container(both.model.cfg.decoding) | wanted),
        decoder=both.model.decoder,
        joint=both.model.joint,
        tokenizer=both.model.tokenizer,
    )
    encoded, lengths = both.batch
    hypotheses: list[Any] = decoding.rnnt_decoder_predictions_tensor(encoded, lengths, return_hypotheses=True)
    return hypotheses


def greedy(name: str, seed: int | None) -> list[Tokens]:
    return [alternatives[0].tokens for alternatives in pair(name).decode({}, seed)]


@CHUNKINGS
@MODELS
def test_tokens_frames_and_confidences_equal_nemo(name: str, seed: int | None) -> None:
    found, expected = greedy(name, seed), nemo_greedy(name)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.ids == theirs.y_sequence.tolist()
        assert ours.frames == list(theirs.timestamp["timestep"])
        np.testing.assert_allclose(ours.confidences, theirs.token_confidence, atol=1e-4)
    assert max(map(len, found)) > 15


@CHUNKINGS
@MODELS
def test_words_equal_nemo(name: str, seed: int | None) -> None:
    """Text, start and confidence (the least of the tokens') are NeMo's.

    The end is, too, for a plain transducer: the frame after the last token. For a TDT, NeMo adds the last token's
    duration, which may be 0 and then ends a word of one token where it starts; we stay with the frame after.
    """
    vocabulary = pair(name).decoder.vocabulary
    for ours, theirs in zip(greedy(name, seed), nemo_greedy(name), strict=True):
        found, offsets = words(ours, vocabulary), theirs.timestamp["word"]
        assert [word.text for word in found] == [offset["word"] for offset in offsets]
        assert [word.start_frame for word in found] == [offset["start_offset"] for offset in offsets]
        np.testing.assert_allclose([word.confidence for word in found], theirs.word_confidence, atol=1e-4)
        last_frames, ends = [word.end_frame - 1 for word in found], [offset["end_offset"] for offset in offsets]
        if name == "TDT":
            assert all(0 <= end - last <= 4 for end, last in zip(ends, last_frames, strict=True))
        else:
            assert ends == [last + 1 for last in last_frames]


@MODELS
def test_confidence_of_the_graph_equals_that_of_its_distributions(name: str) -> None:
    both = pair(name)
    shape, encoded = both.decoder.shape, both.utterances[-1][None]
    target = np.array([[shape.blank_id]], np.int32)
    zeros = np.zeros((1, shape.layers, shape.hidden), np.float32)
    best = both.joint.best(encoded, target, zeros, zeros)
    log_probs = both.joint.distributions(encoded, target, zeros, zeros).log_probs
    np.testing.assert_allclose(best.confidences, confidence(log_probs), atol=1e-5)
    assert best.confidences.max() - best.confidences.min() > 0.1
