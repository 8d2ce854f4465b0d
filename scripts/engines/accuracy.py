"""How far a variant of the streaming encoder is from FP32, chunk by chunk."""

from __future__ import annotations

import numpy as np

from scripts.export.windows import Float32


def relative_errors(wanted: Float32, got: Float32, chunk: int) -> list[float]:
    """Return the relative error (L2 norm) of every chunk of encoder frames.

    Args:
        wanted: [frames, encoder_dim] of FP32.
        got: of the variant, the same shape.
        chunk: encoder frames to a chunk; the last one has what is left.

    Raises:
        ValueError: the shapes differ.
    """
    if wanted.shape != got.shape:
        raise ValueError(f"the variant gave {got.shape}, FP32 {wanted.shape}")
    starts = range(0, len(wanted), chunk)
    return [
        float(np.linalg.norm((got - wanted)[start : start + chunk]) / np.linalg.norm(wanted[start : start + chunk]))
        for start in starts
    ]
