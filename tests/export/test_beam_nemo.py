"""Beam search against NeMo's `ModifiedALSDBatchedRNNTComputer`, offline and in random chunks. Needs NeMo."""

from __future__ import annotations

import pytest

pytest.importorskip("nemo.collections.asr", reason="NeMo lives in its own environment: make test-nemo")

import torch
from nemo.collections.asr.parts.submodules.rnnt_malsd_batched_computer import ModifiedALSDBatchedRNNTComputer

from tests.export.pairs import PLAIN, Pair, pair


@torch.no_grad()
def nemo_beam(pair: Pair, beam_size: int) -> list[list[tuple[list[int], list[int], float]]]:
    """Return labels, their frames and the normalised score of NeMo's alternatives for every utterance, best first."""
    computer = ModifiedALSDBatchedRNNTComputer(
        decoder=pair.model.decoder,
        joint=pair.model.joint,
        blank_index=pair.model.decoder.blank_idx,
        beam_size=beam_size,
        max_symbols_per_step=pair.decoder.beam.max_symbols_per_step,
        allow_cuda_graphs=False,
    )
    encoded, lengths = pair.batch
    hypotheses, *_ = computer(encoded.transpose(1, 2), lengths)
    return [
        [
            (one.y_sequence.tolist(), one.timestamp.tolist(), one.score / (len(one.y_sequence) + 1))
            for one in alternatives.n_best_hypotheses
        ]
        for alternatives in hypotheses.to_nbest_hyps_list(score_norm=True)
    ]


@pytest.mark.parametrize("seed", [None, 1], ids=["offline", "in random chunks"])
@pytest.mark.parametrize("beam_size", [2, 4, 8])
@pytest.mark.parametrize("name", PLAIN)
def test_beam_equals_nemo(name: str, beam_size: int, seed: int | None) -> None:
    both = pair(name)
    found = both.decode({"beam_size": beam_size, "n_best": beam_size}, seed)
    expected = nemo_beam(both, beam_size)
    for ours, theirs in zip(found, expected, strict=True):
        assert [one.tokens.ids for one in ours] == [labels for labels, _, _ in theirs]
        assert [one.tokens.frames for one in ours] == [frames for _, frames, _ in theirs]
        assert [one.score for one in ours] == pytest.approx([score for _, _, score in theirs], abs=1e-3)
    assert any(len(ours[0].tokens) > 5 for ours in found)
