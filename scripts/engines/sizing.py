"""Streams to a GPU, computed and not measured: `python -m scripts.engines.sizing` prints the tables of docs/sizing.md.

A roofline (Williams et al., CACM 2009) over a step of the cache-aware FastConformer encoder. A GPU serves S streams of
a chunk size when the steps of all of them fit into the `SHARE` of a chunk's duration that is left to the encoder, and
their caches into memory. A step takes as long as its arithmetic or its traffic, whichever is longer, at the fractions
`ARITHMETIC` and `TRAFFIC` of the data sheet.
"""

from __future__ import annotations

from dataclasses import dataclass

# Fractions of the data sheet that are assumed, not measured.
ARITHMETIC, TRAFFIC = 0.35, 0.6
# Of the time; decoder, front end and idle have the rest.
SHARE = 0.6
# Of the memory; engines, activations and CUDA graphs have the rest.
MEMORY = 0.7
# Times a step moves a stream's caches where nothing is fused. In FP32: into the batch (2), read to be joined with the
# new frames and written as the next ones (2), out of the batch (2). In the precision of the weights: joined (1),
# attended to by the scores and by the sums (2), read for the next ones (1).
CACHE_PASSES, WEIGHT_PASSES = 6, 4
# Caches that are kept of a stream: Triton holds a state before and after a step.
COPIES = 2
WEIGHT_BYTES, CACHE_BYTES = 2, 4  # FP16 weights; the contract keeps caches in FP32
LARGEST_BATCH = 256


@dataclass(frozen=True)
class Gpu:
    """Data sheet of a GPU.

    Attributes:
        name: as sold.
        tflops: dense FP16 tensor arithmetic, 1e12 a second.
        gigabytes_per_sec: memory bandwidth, 1e9 a second.
        gigabytes: memory, 1e9.
    """

    name: str
    tflops: float
    gigabytes_per_sec: float
    gigabytes: float


@dataclass(frozen=True)
class Encoder:
    """Sizes of a cache-aware FastConformer.

    Attributes:
        name: for the table.
        layers: Conformer layers.
        model_dim: their width d.
        heads: of the attention.
        left_context: encoder frames in the attention cache.
        convolution_context: encoder frames in the convolution cache.
    """

    name: str
    layers: int
    model_dim: int
    heads: int = 8
    left_context: int = 70
    convolution_context: int = 8

    @property
    def weights(self) -> float:
        """Parameters: per layer two feed-forwards (16 d²), attention (4 d²), convolution (3 d²)."""
        return self.layers * 23 * self.model_dim**2

    @property
    def cache_values(self) -> int:
        """Numbers in one stream's caches."""
        return self.layers * self.model_dim * (self.left_context + self.convolution_context)

    @property
    def cache_bytes(self) -> float:
        """Bytes of one stream's caches."""
        return CACHE_BYTES * self.cache_values

    def step_flops(self, frames: int) -> float:
        """Return the operations of one stream's step of so many encoder frames, two to a multiplication.

        Those of the exported graph, without its subsampling: the projections of keys and values are applied to the
        queries and to the weighted sums of frames (`scripts/export/attention.py`), so that the cached frames are not
        projected, and each head scores and sums frames of full width.
        """
        d, seen = self.model_dim, self.left_context + frames
        scored = 2 * self.heads * seen + (seen + frames)  # by content and the sums; by position
        layer = frames * ((16 + 4 + 3) * d**2 + scored * d + (self.convolution_context + 1) * d)
        return 2 * self.layers * layer

    def step_secs(self, gpu: Gpu, frames: int, batch: int) -> float:
        """Return the seconds of a step of `batch` streams."""
        arithmetic = batch * self.step_flops(frames) / (ARITHMETIC * gpu.tflops * 1e12)
        stream = self.cache_values * (CACHE_PASSES * CACHE_BYTES + WEIGHT_PASSES * WEIGHT_BYTES)
        moved = WEIGHT_BYTES * self.weights + batch * stream
        return max(arithmetic, moved / (TRAFFIC * gpu.gigabytes_per_sec * 1e9))

    def streams(self, gpu: Gpu, frames: int, frame_secs: float = 0.08) -> int:
        """Return how many streams a GPU serves in chunks of so many encoder frames."""
        steps = SHARE * frames * frame_secs / self.step_secs(gpu, frames, LARGEST_BATCH)
        free = MEMORY * gpu.gigabytes * 1e9 - WEIGHT_BYTES * self.weights
        return max(0, int(min(steps * LARGEST_BATCH, free / (COPIES * self.cache_bytes))))


GPUS = (
    Gpu("L4", 121, 300, 24),
    Gpu("A10", 125, 600, 24),
    Gpu("L40S", 362, 864, 48),
    Gpu("H100 SXM", 989, 3350, 80),
    Gpu("H200", 989, 4800, 141),
)
ENCODERS = (Encoder("0.6B (24 layers, 1024)", 24, 1024), Encoder("114M (17 layers, 512)", 17, 512))
CHUNK_FRAMES = (1, 2, 4, 7, 14)


def table(encoder: Encoder) -> str:
    """Return the streams by GPU and chunk size, as Markdown."""
    heads = [encoder.name, *(f"{frames * 80} ms" for frames in CHUNK_FRAMES)]
    lines = [heads, ["---"] + ["---:"] * len(CHUNK_FRAMES)]
    for gpu in GPUS:
        lines += [[gpu.name, *(f"{_rounded(encoder.streams(gpu, frames)):,}" for frames in CHUNK_FRAMES)]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rounded(streams: int) -> int:
    """Round to two digits: the model is no better than that."""
    return int(float(f"{streams:.2g}"))


if __name__ == "__main__":
    print("\n\n".join(table(encoder) for encoder in ENCODERS))
