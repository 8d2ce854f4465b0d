"""Attention over cached frames against NeMo's own layer."""

from __future__ import annotations

import pytest

pytest.importorskip("nemo.collections.asr", reason="NeMo lives in its own environment: make test-nemo")

import torch
from nemo.collections.asr.parts.submodules.multi_head_attention import (
    RelPositionalEncoding,
    RelPositionMultiHeadAttention,
)

from scripts.export.attention import CachedAttention

_CONTEXT, _HEADS, _DIM = 12, 3, 24


@pytest.mark.parametrize("new", [1, 2, 7, 15])
@pytest.mark.parametrize("use_bias", [True, False])
@torch.no_grad()
def test_it_attends_as_nemo_does(new, use_bias):
    torch.manual_seed(new)
    bias_u, bias_v = (torch.randn(_HEADS, _DIM // _HEADS) for _ in range(2))
    nemo = RelPositionMultiHeadAttention(_HEADS, _DIM, 0.0, bias_u, bias_v, use_bias=use_bias).eval()
    nemo.cache_drop_size = 0
    embedding = RelPositionalEncoding(_DIM, dropout_rate=0.0)
    embedding.extend_pe(64, torch.device("cpu"), torch.float32)
    frames, cache = torch.randn(2, new, _DIM), torch.randn(2, _CONTEXT, _DIM)
    mask = torch.rand(2, new, _CONTEXT + new) < 0.3
    mask[:, :, -1] = False  # each row sees something
    _, positions = embedding(frames, cache_len=_CONTEXT)
    expected, next_cache = nemo(frames, frames, frames, mask, positions, cache)

    found, seen = CachedAttention(nemo, embedding.pe)(query=frames, mask=mask, cache=cache)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(seen[:, -_CONTEXT:], next_cache[:, -_CONTEXT:], atol=0, rtol=0)
