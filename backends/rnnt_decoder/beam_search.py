"""Alignment-length-synchronous beam search over a batch of streams.

Source: Saon et al., "Alignment-Length Synchronous Decoding for RNN Transducer", 2020, with the changes of NeMo's
`ModifiedALSDBatchedRNNTComputer`: a limit of labels per frame instead of an estimate of the length, and merging of
equal hypotheses after every step.

In one step every hypothesis takes a blank, and goes on by a frame, or a label. So all of them have made equally many
steps, and those with fewer labels are further ahead in time. A step needs a frame for every hypothesis; when the one
that is furthest ahead has none left, the whole beam waits for the next chunk. So the result does not depend on how the
audio is cut into chunks.

The joint is asked for some frames at once for each new label sequence, all streams and hypotheses in one call; most
blanks cost no call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np

from common.parameters import ModelConfig
from rnnt_decoder.beam import Beam, BeamHypothesis, Emission, Prediction
from rnnt_decoder.confidence import confidence
from rnnt_decoder.endpoints import LENGTH, NO_ENDPOINTS
from rnnt_decoder.hypothesis import PredictionShape
from rnnt_decoder.joint import Float32, Joint
from rnnt_decoder.stream import Stream
from rnnt_decoder.vocabulary import Vocabulary

# Frames of one call of the joint: a hypothesis passes few of them before it dies or emits.
_WINDOW_FRAMES = 4


class Extension(NamedTuple):
    """A hypothesis and what it does next: a label (the blank is one), or nothing at the end of the audio."""

    score: float
    hypothesis: BeamHypothesis
    label: int | None


@dataclass(frozen=True)
class BeamSearch:
    """Beam search for streams whose options ask for one.

    Attributes:
        shape: of the prediction network.
        vocabulary: tells where words start.
        max_symbols_per_step: most labels on one frame.
    """

    shape: PredictionShape
    vocabulary: Vocabulary
    max_symbols_per_step: int

    @staticmethod
    def configured(config: ModelConfig, vocabulary: Vocabulary) -> BeamSearch:
        """Read a model's parameters."""
        return BeamSearch(PredictionShape.configured(config), vocabulary, config.integer("max_symbols_per_step", 1))

    def __call__(
        self, chunks: Sequence[Float32], streams: Sequence[Stream], flush: Sequence[bool], joint: Joint
    ) -> None:
        """Extend each stream by the frames of its chunk.

        Args:
            chunks: encoder frames of each stream, [frames, dim] float32.
            streams: one per chunk; their `search` is a Beam.
            flush: whether the stream's segment ends with its chunk, so that nothing waits for more frames.
            joint: evaluates prediction network and joint.
        """
        runs = [_Run(stream, last) for stream, last in zip(streams, flush, strict=True)]
        for run, chunk in zip(runs, chunks, strict=True):
            run.beam.receive(chunk)
            run.stream.frames += len(chunk)
        while active := [run for run in runs if run.can_step()]:
            self._predict(active, joint)
            self._step(active)
        for run in runs:
            run.beam.settle()

    def _predict(self, runs: Sequence[_Run], joint: Joint) -> None:
        """Ask the joint about every hypothesis that has no prediction for its next frame."""
        asking = [(run, at) for run in runs for at, one in enumerate(run.beam.hypotheses) if run.lacks_prediction(one)]
        if not asking:
            return
        hypotheses = [run.beam.hypotheses[at] for run, at in asking]
        # At the end of the audio some have no frame left; they get the last one, which is not used.
        first = [min(run.beam.hypotheses[at].time, run.stream.frames - 1) for run, at in asking]
        lengths = [
            min(_WINDOW_FRAMES, run.stream.frames - frame) for (run, _), frame in zip(asking, first, strict=True)
        ]
        encoded = np.zeros((len(asking), max(lengths), asking[0][0].beam.pending.shape[1]), np.float32)
        for row, (run, _), frame, length in zip(encoded, asking, first, lengths, strict=True):
            row[:length] = run.beam.pending[frame - run.beam.first_pending :][:length]
        output = joint.distributions(
            encoded,
            np.array([[one.last_label] for one in hypotheses], np.int32),
            np.stack([one.state_h for one in hypotheses]),
            np.stack([one.state_c for one in hypotheses]),
        )
        confidences = confidence(output.log_probs)
        for index, (run, at) in enumerate(asking):
            log_probs = output.log_probs[index]
            fusion = run.stream.options.fusion
            scores = fusion.fuse(log_probs, hypotheses[index].fusion_state) if fusion else log_probs
            prediction = Prediction(
                first_frame=first[index],
                log_probs=log_probs,
                confidences=confidences[index],
                scores=scores,
                state_h=output.state_h[index],
                state_c=output.state_c[index],
            )
            run.beam.hypotheses[at] = hypotheses[index]._replace(prediction=prediction)

    def _step(self, runs: Sequence[_Run]) -> None:
        """Take one step in each beam."""
        beam_size = max(run.stream.options.beam_size for run in runs)
        scores = np.stack([run.scores(one) for run in runs for one in run.beam.hypotheses])
        count = min(beam_size, scores.shape[1])
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        best_scores = np.take_along_axis(scores, best, axis=1).tolist()
        labels = best.tolist()
        row = 0
        for run in runs:
            extensions: list[Extension] = []
            for hypothesis in run.beam.hypotheses:
                extensions += self._extensions(run, hypothesis, labels[row], best_scores[row])
                row += 1
            extensions.sort(key=lambda one: -one.score)
            self._advance(run, extensions[: run.stream.options.beam_size])

    def _extensions(
        self, run: _Run, hypothesis: BeamHypothesis, labels: list[int], scores: list[float]
    ) -> list[Extension]:
        if hypothesis.time >= run.stream.frames:
            return [Extension(hypothesis.score, hypothesis, None)]
        if hypothesis.symbols >= self.max_symbols_per_step:
            blank = float(run.scores(hypothesis)[self.shape.blank_id])
            return [Extension(hypothesis.score + blank, hypothesis, self.shape.blank_id)]
        return [
            Extension(hypothesis.score + score, hypothesis, label) for label, score in zip(labels, scores, strict=True)
        ]

    def _advance(self, run: _Run, extensions: Sequence[Extension]) -> None:
        """Make hypotheses of the surviving extensions; those with the same labels become one."""
        beam = run.beam
        merged: dict[int, BeamHypothesis] = {}
        for extension in extensions:
            hypothesis = self._extended(run, extension)
            if hypothesis.prefix in merged:  # the better one stays, with the probability of both
                better = merged[hypothesis.prefix]
                hypothesis = better._replace(score=float(np.logaddexp(better.score, hypothesis.score)))
            merged[hypothesis.prefix] = hypothesis
        beam.hypotheses = sorted(merged.values(), key=lambda one: -one.score)
        self._end_segment_if_due(run)

    def _extended(self, run: _Run, extension: Extension) -> BeamHypothesis:
        hypothesis, label = extension.hypothesis, extension.label
        if label is None:
            return hypothesis
        if label == self.shape.blank_id:
            return hypothesis.after_a_blank(extension.score)
        prediction, fusion = run.prediction(hypothesis), run.stream.options.fusion
        at = hypothesis.time - prediction.first_frame
        emission = Emission(
            before=hypothesis.last,
            label=label,
            frame=hypothesis.time,
            log_prob=float(prediction.log_probs[at, label]),
            confidence=float(prediction.confidences[at]),
        )
        return BeamHypothesis(
            prefix=run.beam.prefix_after(hypothesis, label),
            last=emission,
            length=hypothesis.length + 1,
            score=extension.score,
            time=hypothesis.time,
            symbols=hypothesis.symbols + 1,
            after_blank=False,
            last_label=label,
            state_h=prediction.state_h,
            state_c=prediction.state_c,
            fusion_state=fusion.advance(hypothesis.fusion_state, label) if fusion else None,
        )

    def _end_segment_if_due(self, run: _Run) -> None:
        options, beam = run.stream.options, run.beam
        if options.endpoints is NO_ENDPOINTS:
            return
        rules, best = options.endpoints, beam.best(options)
        if best.time >= rules.due_frame(beam.start_frame, best.last_frame):
            run.end_segment(rules.rule_of_silence(best.last_frame), best.time)
        elif best.last is not None and not best.after_blank and self.vocabulary.starts_word(best.last.label):
            before = best.last.before
            if not rules.too_long(beam.start_frame, before.frame if before else None, best.time):
                return
            beam.hypotheses = [best.without(best.last)]
            run.end_segment(LENGTH, best.time)


@dataclass(frozen=True)
class _Run:
    """One stream during one call."""

    stream: Stream
    flush: bool

    @property
    def beam(self) -> Beam:
        return cast("Beam", self.stream.search)

    def can_step(self) -> bool:
        """Whether there is a frame for every hypothesis; at the end of a segment, for any."""
        times = [hypothesis.time for hypothesis in self.beam.hypotheses]
        return (min(times) if self.flush else max(times)) < self.stream.frames

    def scores(self, hypothesis: BeamHypothesis) -> Float32:
        """Scores of the next step of a hypothesis, [labels] float32."""
        prediction = self.prediction(hypothesis)
        # At the end of the audio there may be no frame left; what is returned then is not used.
        scores: Float32 = prediction.scores[min(hypothesis.time, self.stream.frames - 1) - prediction.first_frame]
        return scores

    def lacks_prediction(self, hypothesis: BeamHypothesis) -> bool:
        """Whether the joint has to be asked about the next frame of a hypothesis."""
        prediction = hypothesis.prediction
        if prediction is None:
            return True
        behind = prediction.first_frame + len(prediction.log_probs)
        return behind <= hypothesis.time < self.stream.frames

    @staticmethod
    def prediction(hypothesis: BeamHypothesis) -> Prediction:
        """Return what the joint said; it has been asked before a step."""
        return cast("Prediction", hypothesis.prediction)

    def end_segment(self, rule: str, frame: int) -> None:
        """End the segment before a frame; the next one gets the frames from there on."""
        pending, first_pending = self.beam.pending, self.beam.first_pending
        self.stream.end_segment(rule, frame)
        self.beam.pending = pending[frame - first_pending :]
