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
# Times a step moves a stream's caches: into the batch (2), through the engine (2), out of it (2).
PASSES = 6
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
        left_context: encoder frames in the attention cache.
        convolution_context: encoder frames in the convolution cache.
    """

    name: str
    layers: int
    model_dim: int
    left_context: int = 70
    convolution_context: int = 8

    @property
    def weights(self) -> float:
        """Parameters: per layer two feed-forwards (16 d²), attention (5 d²), convolution (3 d²)."""
        return self.layers * 24 * self.model_dim**2

    @property
    def cache_bytes(self) -> float:
        """Bytes of one stream's caches."""
        return CACHE_BYTES * self.layers * self.model_dim * (self.left_context + self.convolution_context)

    def step_flops(self, frames: int) -> float:
        """Return the operations of one stream's step of so many encoder frames, two to a multiplication.

        Keys and values are projected anew for the cached frames: the cache holds the inputs of the layers.
        """
        d, seen = self.model_dim, self.left_context + frames
        layer = frames * (16 + 2 + 3) * d**2 + seen * 2 * d**2 + 3 * frames * seen * d
        return 2 * self.layers * layer

    def step_secs(self, gpu: Gpu, frames: int, batch: int) -> float:
        """Return the seconds of a step of `batch` streams."""
        arithmetic = batch * self.step_flops(frames) / (ARITHMETIC * gpu.tflops * 1e12)
        moved = WEIGHT_BYTES * self.weights + batch * PASSES * self.cache_bytes
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
