"""The streaming encoder as one graph: caches in, caches out, one window shape for every chunk of a sequence.

The graph computes exactly what NeMo's `ConformerEncoder.cache_aware_stream_step(keep_all_outputs=True)` does with
`drop_extra_pre_encoded` 0 for the first chunk of a sequence and `streaming_cfg.drop_extra_pre_encoded` for the later
ones. NeMo gives the first chunk fewer frames; here it has the same number, the missing ones being zero frames on the
left, masked inside the subsampling stack so that no bias leaks out of them. With a right context of 0 the first chunk
is one frame, less than the second repeats; NeMo lets the zero frames that stand in for the others leak, and its
streaming output differs from its offline one there. Here they are masked too, and streaming stays equal to offline.
"""

from __future__ import annotations

import copy

import torch
from nemo.collections.asr.modules import ConformerEncoder
from nemo.collections.asr.parts.submodules.causal_convs import CausalConv2D
from nemo.collections.asr.parts.submodules.subsampling import ConvSubsampling
from torch import Tensor, nn

from scripts.export.attention import CachedAttention
from scripts.export.convolutions import replace_convolutions
from scripts.export.description import EncoderShape, StreamingGeometry

# A voice activity gate holds back so many samples, in whole chunks, and END brings them all (log_mel/vad_gate.py).
_GATE_LOOK_AHEAD_SAMPLES = 5632


class MaskedSubsampling(nn.Module):
    """NeMo's `ConvSubsampling` with its padding masked on both sides (NeMo masks the right one only)."""

    def __init__(self, subsampling: ConvSubsampling) -> None:
        """Take over the layers of a causal `dw_striding` or `striding` subsampling."""
        super().__init__()
        self.layers = nn.ModuleList(subsampling.conv)
        self.out = subsampling.out

    def forward(self, frames: Tensor, left: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Subsample.

        Args:
            frames: [B, T, n_mels] float32.
            left: [B] int64, padding frames at the left of every row; a multiple of the subsampling factor.
            length: [B] int64, frames that are not padding on the right, the left padding included.

        Returns:
            [B, T', model_dim] float32, and how many of its frames are not padding on the right, [B] int64.
        """
        x = frames.unsqueeze(1)
        for layer in self.layers:
            # Only these mix frames; between them masking changes nothing, so NeMo's is left out.
            if isinstance(layer, CausalConv2D):
                stride = layer.stride[0]
                x = layer(x * _inside(left, length, x.size(2)))
                padding = layer._left_padding + layer._right_padding - layer.kernel_size[0]
                length = torch.div(length + padding, stride, rounding_mode="trunc") + 1
                left = torch.div(left, stride, rounding_mode="trunc")
            else:
                x = layer(x)
        x = x * _inside(left, length, x.size(2))
        return self.out(x.transpose(1, 2).flatten(2)), length


def _inside(left: Tensor, length: Tensor, frames: int) -> Tensor:
    """1 where left <= frame < length and 0 elsewhere, [B, 1, frames, 1] float32."""
    frame = torch.arange(frames, device=length.device)
    inside = (frame >= left.unsqueeze(1)) & (frame < length.unsqueeze(1))
    return inside.to(torch.float32)[:, None, :, None]


class StreamingEncoder(nn.Module):
    """One step of the encoder for several sequences, each at its own place."""

    def __init__(self, encoder: ConformerEncoder, geometry: StreamingGeometry, shape: EncoderShape) -> None:
        """Copy the weights of an encoder whose attention context is `geometry.att_context`."""
        super().__init__()
        encoder = copy.deepcopy(encoder).eval()
        self.geometry = geometry
        self.shape = shape
        self.subsampling = MaskedSubsampling(encoder.pre_encode)
        self.positions = encoder.pos_enc
        self.layers = encoder.layers
        replace_convolutions(self.layers)
        self.out = encoder.out_proj or nn.Identity()
        left_context, right_context = geometry.att_context
        self.chunk = right_context + 1
        self.left_chunks = left_context // self.chunk
        held_back = -(-_GATE_LOOK_AHEAD_SAMPLES // geometry.chunk_samples) * geometry.encoder_frames
        self._replace_attention(left_context + geometry.final_encoder_frames + held_back + 1)

    @torch.no_grad()
    def _replace_attention(self, longest: int) -> None:
        """Keep only the positions that a step can need."""
        table = self.positions.pe
        middle = table.size(1) // 2
        self.positions.pe = table[:, middle - longest + 1 : middle + longest]
        for layer in self.layers:
            layer.self_attn = CachedAttention(layer.self_attn, self.positions.pe)

    def forward(
        self, features: Tensor, features_length: Tensor, cache_channel: Tensor, cache_len: Tensor, cache_time: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Encode a window.

        Args:
            features: [B, n_mels, T] float32, T being `window_frames`, `final_window_frames`, or longer by what a voice
                activity gate held back.
            features_length: [B, 1] int64, valid frames counted from the first one, with the left padding of a first
                chunk or the repeated frames of a later one; no more than those, or 0, for no new frame.
            cache_channel: [B, layers, left_context, model_dim] float32.
            cache_len: [B, 1] int64, valid encoder frames in cache_channel; 0 marks the first chunk of a sequence.
            cache_time: [B, layers, model_dim, kernel - 1] float32.

        Returns:
            encoded [B, T', encoder_dim] float32, encoded_length [B, 1] int64, and the next three caches.
        """
        geometry = self.geometry
        length, cached = features_length[:, 0], cache_len[:, 0]
        is_first = cached == 0
        left = is_first * geometry.left_pad_frames
        if geometry.second_left_pad_frames:
            left = left + (cached == geometry.encoder_frames) * geometry.second_left_pad_frames
        old_frames = torch.where(is_first, geometry.left_pad_frames, geometry.pre_encode_cache_frames)
        x, encoded_length = self.subsampling(features.transpose(1, 2), left, length)
        x = x[:, geometry.drop_extra_pre_encoded :]
        encoded_length = (encoded_length - geometry.drop_extra_pre_encoded) * (length > old_frames)

        hidden, unseen = self._masks(x.size(1), encoded_length, cached)
        x, position = self.positions(x, cache_len=self.shape.left_context)
        channels, times = [], []
        for index, layer in enumerate(self.layers):
            x, channel, time = layer(
                x,
                att_mask=hidden,
                pos_emb=position,
                pad_mask=unseen,
                cache_last_channel=cache_channel[:, index],
                cache_last_time=cache_time[:, index],
            )
            channels.append(channel[:, -self.shape.left_context :])
            times.append(time)
        # A window without a frame comes only before the first one, when the caches hold nothing but padding.
        next_len = (cached + x.size(1) * (length > 0)).clamp(max=self.shape.left_context)
        return (
            self.out(x),
            encoded_length.unsqueeze(1),
            torch.stack(channels, dim=1),
            next_len.unsqueeze(1),
            torch.stack(times, dim=1),
        )

    def _masks(self, frames: int, length: Tensor, cached: Tensor) -> tuple[Tensor, Tensor]:
        """Return what attention and convolution must not see, as `ConformerEncoder._create_masks` marks it.

        A frame sees its own chunk of right_context + 1 frames and the left_chunks before it. The cache is aligned to
        the right and a whole number of chunks long, so chunks can be counted from its first frame.

        Returns:
            [B, frames, left_context + frames] and [B, frames] bool.
        """
        context = self.shape.left_context
        frame = torch.arange(context + frames, device=length.device)
        chunk = torch.div(frame, self.chunk, rounding_mode="trunc")
        distance = chunk[context:, None] - chunk[None, :]
        in_reach = (distance >= 0) & (distance <= self.left_chunks)
        valid = (frame >= context - cached[:, None]) & (frame < context + length[:, None])
        return ~(in_reach & valid[:, None, :]), ~valid[:, context:]
