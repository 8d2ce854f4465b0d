"""The beam of one stream: hypotheses that are alternatives to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from rnnt_decoder.hypothesis import Hypothesis
from rnnt_decoder.joint import Float32
from rnnt_decoder.options import DecodingOptions
from rnnt_decoder.tokens import Alternative, Tokens


@dataclass(frozen=True, eq=False)
class Emission:
    """A token in a tree of tokens: hypotheses share their beginnings."""

    before: Emission | None
    label: int
    frame: int
    log_prob: float
    confidence: float


class Prediction(NamedTuple):
    """What the joint says after a hypothesis, frame by frame; shared by all that differ only in blanks.

    Attributes:
        first_frame: the frame that it begins with.
        log_probs: [frames, labels] float32, blank last.
        confidences: in a label of each frame, [frames] float32.
        scores: `log_probs` with fusion, [frames, labels] float32.
        state_h: LSTM state after the last label, [layers, hidden] float32.
        state_c: as state_h.
    """

    first_frame: int
    log_probs: Float32
    confidences: Float32
    scores: Float32
    state_h: Float32
    state_c: Float32


class BeamHypothesis(NamedTuple):
    """One alternative. A named tuple, since thousands are made a second and these are made fastest.

    Attributes:
        prefix: identity of its label sequence within the beam.
        last: its last token.
        length: how many it has.
        score: sum of natural-log probabilities over merged alignments, fusion included.
        time: the encoder frame it looks at next.
        symbols: labels emitted on that frame.
        after_blank: whether its last step was a blank.
        last_label: what the prediction network reads next.
        state_h: its LSTM state before `last_label`, [layers, hidden] float32.
        state_c: as state_h.
        fusion_state: state of the stream's fusion.
        prediction: for some frames from one not after `time` on; None until the joint was asked.
    """

    prefix: int
    last: Emission | None
    length: int
    score: float
    time: int
    symbols: int
    after_blank: bool
    last_label: int
    state_h: Float32
    state_c: Float32
    fusion_state: Any
    prediction: Prediction | None = None

    def after_a_blank(self, score: float) -> BeamHypothesis:
        """Return it one frame later."""
        return self._replace(score=score, time=self.time + 1, symbols=0, after_blank=True)

    def without(self, last: Emission) -> BeamHypothesis:
        """Return what it was before its last token; good for `Beam.alternatives` only."""
        return self._replace(last=last.before, length=self.length - 1, score=self.score - last.log_prob)

    @property
    def last_frame(self) -> int | None:
        """Frame of its last token."""
        return self.last.frame if self.last else None


@dataclass
class Beam:
    """The hypotheses of a segment, best first, and the frames that not all of them have passed.

    Attributes:
        start_frame: first frame of the segment.
        hypotheses: never empty.
        confirmed: tokens that all hypotheses share; they never change.
        last_confirmed: the last of them, in the tree.
        pending: encoder frames from `first_pending` on, [frames, dim] float32.
        first_pending: frame number of the first of them.
        prefixes: identities of label sequences: (identity of the sequence before, label) -> identity.
    """

    start_frame: int
    hypotheses: list[BeamHypothesis]
    confirmed: Tokens = field(default_factory=Tokens)
    last_confirmed: Emission | None = None
    pending: Float32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    first_pending: int = 0
    prefixes: dict[tuple[int, int], int] = field(default_factory=dict)

    @staticmethod
    def of(hypothesis: Hypothesis) -> Beam:
        """Return a beam of nothing but a hypothesis of no tokens."""
        start = hypothesis.start_frame
        first = BeamHypothesis(
            prefix=0,
            last=None,
            length=0,
            score=0.0,
            time=start,
            symbols=0,
            after_blank=False,
            last_label=hypothesis.last_label,
            state_h=hypothesis.state_h,
            state_c=hypothesis.state_c,
            fusion_state=hypothesis.fusion_state,
        )
        return Beam(start, [first], first_pending=start)

    def prefix_after(self, hypothesis: BeamHypothesis, label: int) -> int:
        """Return the identity of a hypothesis' labels and one more."""
        return self.prefixes.setdefault((hypothesis.prefix, label), len(self.prefixes) + 1)

    def receive(self, encoded: Float32) -> None:
        """Add encoder frames [frames, dim]; every prediction has to be made anew, for more frames."""
        self.pending = np.concatenate([self.pending, encoded]) if len(self.pending) else encoded
        self.hypotheses = [hypothesis._replace(prediction=None) for hypothesis in self.hypotheses]

    def settle(self) -> None:
        """Drop the frames behind all hypotheses, and confirm the tokens that all of them share."""
        passed = min(hypothesis.time for hypothesis in self.hypotheses) - self.first_pending
        self.pending = self.pending[passed:]
        self.first_pending += passed
        chains = [self._unconfirmed(hypothesis) for hypothesis in self.hypotheses]
        for alternatives in zip(*chains, strict=False):
            emission = alternatives[0]
            if any(other is not emission for other in alternatives):
                break
            self.confirmed.append(emission.label, emission.frame, emission.log_prob, emission.confidence)
            self.last_confirmed = emission

    def tokens_of(self, hypothesis: BeamHypothesis) -> Tokens:
        """Return all tokens of a hypothesis."""
        tokens = Tokens()
        tokens.extend(self.confirmed)
        for emission in self._unconfirmed(hypothesis):
            tokens.append(emission.label, emission.frame, emission.log_prob, emission.confidence)
        return tokens

    def _unconfirmed(self, hypothesis: BeamHypothesis) -> list[Emission]:
        chain = []
        emission = hypothesis.last
        while emission is not None and emission is not self.last_confirmed:
            chain.append(emission)
            emission = emission.before
        return chain[::-1]

    def best(self, options: DecodingOptions) -> BeamHypothesis:
        """Return the hypothesis that the next response shows."""
        return self.ranked(options)[0][1]

    def ranked(self, options: DecodingOptions) -> list[tuple[float, BeamHypothesis]]:
        """Return scores and hypotheses, best first; normalised ones are divided by length + 1, as NeMo does."""
        scored = []
        for one in self.hypotheses:
            score = one.score + (options.fusion.final_score(one.fusion_state) if options.fusion else 0.0)
            scored.append((score / (one.length + 1) if options.length_normalization else score, one))
        return sorted(scored, key=lambda pair: -pair[0])

    def alternatives(self, options: DecodingOptions) -> tuple[Alternative, ...]:
        """Return the best hypotheses, best first; no two have the same labels."""
        best = self.ranked(options)[: options.n_best]
        return tuple(Alternative(self.tokens_of(hypothesis), score) for score, hypothesis in best)
