"""The outputs of the decoder: tokens, words and segments as typed arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnt_decoder.tokens import Alternative, Segment, Tokens, words
from rnnt_decoder.vocabulary import Vocabulary


def transcript(
    segments: Sequence[Segment],
    current: Sequence[Alternative],
    *,
    stable: int,
    vocabulary: Vocabulary,
    frames: int,
    frame_secs: float,
    is_final: bool,
) -> dict[str, npt.NDArray[Any]]:
    """Return the output tensors of one request, batch dimension (1) first; the README has their table.

    Args:
        segments: those that ended with this request. When there are any, the response is about them only; what has
            been recognised of the next one comes with the next response.
        current: alternatives of the segment that goes on, best first.
        stable: how many tokens of the current segment will not change.
        vocabulary: writes the tokens.
        frames: encoder frames covered.
        frame_secs: seconds to a frame.
        is_final: whether this answers END.
    """
    tokens, alternatives = current[0].tokens, current
    if segments:
        tokens, alternatives = Tokens(), segments[-1].alternatives
        for segment in segments:
            tokens.extend(segment.tokens)
    spoken = words(tokens, vocabulary)
    texts = [word.text.encode() for word in spoken]
    text = b" ".join(texts)
    ends = np.cumsum([len(segment.tokens) for segment in segments], dtype=np.int32)
    spans = np.array([(word.start_frame, word.end_frame) for word in spoken], np.float32).reshape(1, -1, 2)
    return {
        "TRANSCRIPT": _texts([text]),
        "IS_FINAL": np.array([[is_final]], np.bool_),
        "TOKENS": np.array([tokens.ids], np.int32),
        "TOKEN_TEXTS": _texts([vocabulary.encoded[label] for label in tokens.ids]),
        "TOKEN_TIMES": np.array([tokens.frames], np.float32) * np.float32(frame_secs),
        "TOKEN_LOG_PROBS": np.array([tokens.log_probs], np.float32),
        "TOKEN_CONFIDENCES": np.array([tokens.confidences], np.float32),
        "STABLE_TOKENS": np.array([[len(tokens) if segments else stable]], np.int32),
        "WORDS": _texts(texts),
        "WORD_TIMES": spans * np.float32(frame_secs),
        "WORD_CONFIDENCES": np.array([[word.confidence for word in spoken]], np.float32),
        "SEGMENT_ENDS": ends.reshape(1, -1),
        "ENDPOINTS": _texts([segment.rule.encode() for segment in segments]),
        "N_BEST": _texts([text if one.tokens is tokens else _text(one.tokens, vocabulary) for one in alternatives]),
        "N_BEST_SCORES": np.array([[one.score for one in alternatives]], np.float32),
        "AUDIO_PROCESSED": np.array([[frames * frame_secs]], np.float32),
    }


def _text(tokens: Tokens, vocabulary: Vocabulary) -> bytes:
    return " ".join(word.text for word in words(tokens, vocabulary)).encode()


def _texts(texts: list[bytes]) -> npt.NDArray[np.object_]:
    array = np.empty((1, len(texts)), np.object_)
    array[0] = texts
    return array
