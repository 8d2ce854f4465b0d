"""The outputs of the decoder: a hypothesis as typed arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rnnt_decoder.hypothesis import Hypothesis
from rnnt_decoder.vocabulary import Vocabulary


def transcript(
    hypothesis: Hypothesis, vocabulary: Vocabulary, *, frame_secs: float, is_final: bool
) -> dict[str, npt.NDArray[Any]]:
    """Return the output tensors of one request, batch dimension (1) first; the README has their table."""
    pieces = [piece.encode() for piece in vocabulary.texts(hypothesis.tokens)]
    return {
        "TRANSCRIPT": np.array([[vocabulary.decode(hypothesis.tokens).encode()]], np.object_),
        "IS_FINAL": np.array([[is_final]], np.bool_),
        "TOKENS": np.array([hypothesis.tokens], np.int32),
        "TOKEN_TEXTS": np.array([pieces], np.object_),
        "TOKEN_TIMES": np.array([hypothesis.frames], np.float32) * np.float32(frame_secs),
        "TOKEN_LOG_PROBS": np.array([hypothesis.log_probs], np.float32),
        "AUDIO_PROCESSED": np.array([[hypothesis.frames_decoded * frame_secs]], np.float32),
    }
