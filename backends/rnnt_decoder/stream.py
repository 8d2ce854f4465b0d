"""The decoder's state of one sequence."""

from __future__ import annotations

from dataclasses import dataclass, field

from rnnt_decoder.beam import Beam
from rnnt_decoder.hypothesis import Hypothesis, PredictionShape
from rnnt_decoder.options import DecodingOptions
from rnnt_decoder.tokens import Alternative, Segment


@dataclass
class Stream:
    """What a stream asked for, how far it is, and its segments.

    Attributes:
        options: set at START.
        shape: of the prediction network.
        search: of the current segment; a `Beam` when the options ask for one.
        frames: encoder frames received so far.
        skip: frames of the next chunk that a duration (TDT) has passed already.
        finished: segments that ended and have not been answered yet.
    """

    options: DecodingOptions
    shape: PredictionShape
    search: Hypothesis | Beam
    frames: int = 0
    skip: int = 0
    finished: list[Segment] = field(default_factory=list)

    @staticmethod
    def new(options: DecodingOptions, shape: PredictionShape) -> Stream:
        """Return the state before the first chunk."""
        return Stream(options, shape, _new_search(options, shape, 0))

    def begin(self, options: DecodingOptions) -> None:
        """Apply what the stream asks for, before its first frame."""
        self.options = options
        self.search = _new_search(options, self.shape, self.frames)

    @property
    def stable_tokens(self) -> int:
        """How many tokens of the current segment will not change."""
        return len(self.search.confirmed if isinstance(self.search, Beam) else self.search.tokens)

    def alternatives(self) -> tuple[Alternative, ...]:
        """Return the best hypotheses of the current segment, as many as asked for, best first."""
        if isinstance(self.search, Beam):
            return self.search.alternatives(self.options)
        return (self.search.alternative(self.options),)

    def end_segment(self, rule: str, frame: int) -> None:
        """Finish the current segment before a frame, and begin the next one there with a fresh prediction network."""
        self.finished.append(Segment(self.alternatives(), self.search.start_frame, frame, rule))
        self.search = _new_search(self.options, self.shape, frame)

    def take_finished(self) -> list[Segment]:
        """Return the segments that have not been answered, and forget them."""
        finished, self.finished = self.finished, []
        return finished


def _new_search(options: DecodingOptions, shape: PredictionShape, start_frame: int) -> Hypothesis | Beam:
    fusion_state = options.fusion.start if options.fusion else None
    hypothesis = shape.new_hypothesis(fusion_state=fusion_state, start_frame=start_frame)
    return Beam.of(hypothesis) if options.beam_size > 1 else hypothesis
