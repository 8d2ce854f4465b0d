"""How sure the model was of a label."""

from __future__ import annotations

import math

import numpy as np

from rnnt_decoder.joint import Float32

ALPHA = 0.33


def confidence(log_probs: Float32) -> Float32:
    """Tsallis entropy of a distribution, mapped exponentially to [0, 1]: 0 for a uniform one, 1 for certainty.

    Source: Laptev and Ginsburg, "Fast Entropy-Based Methods of Word-Level Confidence Estimation", 2022; NeMo's default
    `ConfidenceMethodConfig` (entropy, tsallis, alpha 0.33, exp). The exported `decoder_joint` computes the same.

    Args:
        log_probs: natural-log probabilities [..., labels] float32, blank included.

    Returns:
        [...] float32.
    """
    labels = log_probs.shape[-1]
    least = math.exp((1 - labels ** (1 - ALPHA)) / (1 - ALPHA))
    entropy = (1 - np.exp(ALPHA * log_probs).sum(axis=-1)) / (1 - ALPHA)
    result: Float32 = ((np.exp(entropy) - least) / (1 - least)).astype(np.float32)
    return result
