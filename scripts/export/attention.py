"""Self-attention over cached frames without projecting the cache again at every step: the same sums in another order.

NeMo's layer projects all frames of the cache to keys and values for the few frames of a chunk: with 70 cached frames
and 7 new ones that is a third of the encoder's multiplications, and more with smaller chunks. But query . (W_k frame) =
(W_k^T query) . frame, and the weighted sum of W_v frame is W_v times the weighted sum of frames (the identities behind
the absorbed projections of DeepSeek-V2's attention, arXiv 2405.04434, 2.1.2). So the projections are applied to the
queries and to the sums, of which there are as many as new frames. The bias of the keys adds the same number to all
scores of a query, which the softmax takes out again; that of the values is added once, since the weights sum to 1.
"""

from __future__ import annotations

import math

import torch
from nemo.collections.asr.parts.submodules.multi_head_attention import RelPositionMultiHeadAttention
from torch import Tensor, nn

_HIDDEN_SCORE = -10000.0  # NeMo's INF_VAL


class CachedAttention(nn.Module):
    """NeMo's `RelPositionMultiHeadAttention` for a step of a stream."""

    def __init__(self, attention: RelPositionMultiHeadAttention, positions: Tensor) -> None:
        """Take over the weights.

        Args:
            attention: the layer.
            positions: embeddings of relative positions [1, 2 * longest - 1, model_dim], the middle row being position 0
                and earlier frames before it; longest is one more than the most frames of a cache and a window together.
        """
        super().__init__()
        heads, size = attention.h, attention.d_k
        self.heads = heads
        scale = 1 / math.sqrt(size)
        query, key, value, out = attention.linear_q, attention.linear_k, attention.linear_v, attention.linear_out
        bias = _bias(query).view(heads, 1, size)
        projected = attention.linear_pos(positions)[0].view(-1, heads, size)
        self.query = nn.Parameter(query.weight.T * scale)
        self.content_bias = nn.Parameter((bias + attention.pos_bias_u.unsqueeze(1)) * scale)
        self.position_bias = nn.Parameter((bias + attention.pos_bias_v.unsqueeze(1)) * scale)
        self.positions = nn.Parameter(projected.permute(1, 2, 0).contiguous())
        self.key = nn.Parameter(key.weight.view(heads, size, -1))
        self.value = nn.Parameter(value.weight.view(heads, size, -1).transpose(1, 2).contiguous())
        self.out = nn.Parameter(out.weight.T)
        self.out_bias = nn.Parameter(_bias(out) + out.weight @ _bias(value))

    def forward(self, query: Tensor, mask: Tensor, cache: Tensor, **_: Tensor) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            query: new frames [B, T, model_dim].
            mask: what a frame must not see, [B, T, C + T] bool.
            cache: frames before them [B, C, model_dim].
            **_: what else NeMo's layer gives: keys and values, which are the frames, too, and embeddings of positions.

        Returns:
            [B, T, model_dim], and cache and new frames [B, C + T, model_dim]. Rows that see nothing are arbitrary.
        """
        # All sizes are taken from the mask, which the layers share: then the graph computes them once.
        batch, new, every = mask.size(0), mask.size(1), mask.size(2)
        frames = torch.cat([cache, query], dim=1)
        queries = (query @ self.query).view(batch, new, self.heads, -1).transpose(1, 2)
        asked = (queries + self.content_bias) @ self.key
        scores = asked.view(batch, self.heads * new, -1) @ frames.transpose(1, 2)
        scores = scores.view(batch, self.heads, new, every)
        scores = scores + self._of_positions(queries + self.position_bias, batch, new, every)
        weights = scores.masked_fill(mask.unsqueeze(1), _HIDDEN_SCORE).softmax(dim=-1)
        sums = weights.view(batch, self.heads * new, every) @ frames
        values = sums.view(batch, self.heads, new, -1) @ self.value
        found = values.transpose(1, 2).reshape(batch, new, -1) @ self.out + self.out_bias
        return found, frames

    def _of_positions(self, queries: Tensor, batch: int, new: int, every: int) -> Tensor:
        """Return the scores of relative positions, [B, heads, T, C + T], of [B, heads, T, size].

        Row i needs position C + i - j in column j. Transformer-XL's shift (arXiv 1901.02860, appendix B) takes each row
        from one column further to the left than the one before it; the first column, of one position more, is for it.
        """
        middle = self.positions.size(2) // 2
        scores = queries @ self.positions[:, :, middle - every : middle + new]
        shifted = scores.view(batch, self.heads, -1, new)[:, :, 1:]
        return shifted.reshape(batch, self.heads, new, -1)[:, :, :, :every]


def _bias(linear: nn.Linear) -> Tensor:
    """Return the bias of a projection, zeros where it has none."""
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias
