"""The files beside the graphs: mel filterbank and window, vocabulary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nemo.collections.asr.models import ASRModel


def save_mel(model: ASRModel, path: Path) -> None:
    """Write `filterbank` [n_mels, n_fft // 2 + 1] and `window` [window_samples], float32, uncompressed npz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    featurizer = model.preprocessor.featurizer
    np.savez(
        path,
        filterbank=featurizer.fb[0].numpy().astype(np.float32),
        window=featurizer.window.numpy().astype(np.float32),
    )


def save_vocabulary(model: ASRModel, path: Path) -> None:
    """Write one SentencePiece piece a line, line number = token id; the blank is the id after the last line.

    Raises:
        ValueError: a piece holds a line break, or the tokenizer and the joint disagree about the size.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    size = model.joint.num_classes_with_blank - model.joint.num_extra_outputs - 1
    pieces: list[str] = model.tokenizer.ids_to_tokens(list(range(model.tokenizer.vocab_size)))
    if len(pieces) != size:
        raise ValueError(f"the tokenizer has {len(pieces)} pieces, the joint {size} labels")
    broken = [piece for piece in pieces if len(piece.splitlines()) != 1]
    if broken:
        raise ValueError(f"pieces with a line break cannot be written one a line: {broken}")
    path.write_text("\n".join(pieces) + "\n", encoding="utf-8")


def save_tokenizer(model: ASRModel, path: Path) -> None:
    """Write the SentencePiece model, with which the decoder turns phrases into tokens."""
    path.write_bytes(model.tokenizer.tokenizer.serialized_model_proto())
