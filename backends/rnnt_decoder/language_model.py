"""An n-gram language model over tokens, read by KenLM."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from rnnt_decoder.joint import Float32
from rnnt_decoder.vocabulary import Vocabulary

_MOST_CACHED = 20_000
_NATURAL = math.log(10.0)  # KenLM's logarithms are decimal


class TokenLanguageModel:
    """Natural-log probabilities of the next token. One object per model file, shared by all streams."""

    weighs_blank = True

    def __init__(self, path: Path, vocabulary: Vocabulary) -> None:
        """Load an ARPA or KenLM binary file whose words are the pieces of the vocabulary.

        Raises:
            FileNotFoundError: no such file.
            ModuleNotFoundError: the package kenlm is not installed.
            ValueError: the file knows none of the pieces.
        """
        if not path.is_file():
            raise FileNotFoundError(f"language model {path} does not exist")
        try:
            import kenlm  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415  only where a language model is configured
        except ModuleNotFoundError:
            raise ModuleNotFoundError(f"language model {path} needs the package kenlm: pip install kenlm") from None
        quiet = kenlm.Config()
        quiet.show_progress = False
        self._model: Any = kenlm.Model(str(path), quiet)
        self._state: Any = kenlm.State
        self._pieces = vocabulary.pieces
        known = sum(piece in self._model for piece in self._pieces)
        if not known:
            raise ValueError(f"language model {path}: none of its words is a piece of this model's vocabulary")
        self._cache: OrderedDict[Any, Float32] = OrderedDict()
        self.start = kenlm.State()
        self._model.BeginSentenceWrite(self.start)

    def scores(self, state: Any) -> Float32:
        """Return the log probability of every next label, [labels] float32."""
        cached = self._cache.get(state)
        if cached is None:
            after = self._state()
            base = self._model.BaseScore
            cached = np.array([base(state, piece, after) for piece in self._pieces], np.float32) * np.float32(_NATURAL)
            if len(self._cache) >= _MOST_CACHED:
                self._cache.popitem(last=False)
            self._cache[state] = cached
        return cached

    def advance(self, state: Any, label: int) -> Any:
        """Return the state after a label."""
        after = self._state()
        self._model.BaseScore(state, self._pieces[label], after)
        return after


class DensityRatio:
    """A language model less what the transducer knows already: a low-order model of its training text.

    Source: Zheng et al., "An Empirical Study of Language Model Integration for Transducer based Speech Recognition",
    2022 (LODR), with equal weights.
    """

    weighs_blank = False

    def __init__(self, model: TokenLanguageModel, source: TokenLanguageModel) -> None:
        """Subtract `source` from `model`."""
        self._model, self._source = model, source
        self.start = (model.start, source.start)

    def scores(self, state: Any) -> Float32:
        """Return log ratios of every next label, [labels] float32."""
        ratios: Float32 = self._model.scores(state[0]) - self._source.scores(state[1])
        return ratios

    def advance(self, state: Any, label: int) -> Any:
        """Return the state after a label."""
        return self._model.advance(state[0], label), self._source.advance(state[1], label)


LanguageModel = TokenLanguageModel | DensityRatio


class WeightedLanguageModel:
    """A `FusionModel`: a language model with the weight that a stream asked for."""

    def __init__(self, model: LanguageModel, weight: float) -> None:
        self._model, self._weight = model, np.float32(weight)
        self.start = model.start

    def scores(self, state: Any) -> Float32:
        """Return weighted log probabilities of every next label, [labels] float32."""
        return self._weight * self._model.scores(state)

    def advance(self, state: Any, label: int) -> Any:
        """Return the state after a label."""
        return self._model.advance(state, label)

    def final_score(self, _state: Any) -> float:
        """Return 0: a segment may end anywhere."""
        return 0.0
