"""Small deterministic transducers, and streams for them."""

from __future__ import annotations

import numpy as np

from rnnt_decoder.beam_search import BeamSearch
from rnnt_decoder.confidence import confidence
from rnnt_decoder.decoder import Chunk, Decoder
from rnnt_decoder.greedy import GreedySearch
from rnnt_decoder.hypothesis import PredictionShape
from rnnt_decoder.joint import JointDistributions, JointOutput
from rnnt_decoder.options import DecodingOptions, OptionsReader
from rnnt_decoder.stream import Stream
from rnnt_decoder.vocabulary import Vocabulary

BLANK = 5
SHAPE = PredictionShape(layers=2, hidden=3, blank_id=BLANK)
VOCABULARY = Vocabulary(("▁a", "b", "▁c", "d", "e"))


class RandomJoint:
    """A deterministic random transducer: the label depends on the frame, the target and the LSTM state."""

    def __init__(self, seed, blankness, durations=()):
        rng = np.random.default_rng(seed)
        self.embedding = rng.standard_normal((BLANK + 1, 3)).astype(np.float32)
        self.output = rng.standard_normal((3, BLANK + 1)).astype(np.float32)
        self.output_bias = np.zeros(BLANK + 1, np.float32)
        self.output_bias[BLANK] = blankness
        self.duration_output = rng.standard_normal((3, max(1, len(durations)))).astype(np.float32)
        self.durations = np.array(durations, np.int32)
        self.calls = 0

    def distributions(self, encoded, targets, state_h, state_c):
        self.calls += 1
        state_h = np.tanh(0.5 * state_h + self.embedding[targets[:, 0]][:, None])
        state_c = 0.9 * state_c + state_h
        joined = np.tanh(encoded + state_h[:, -1:] + 0.1 * state_c[:, :1])
        logits = joined @ self.output + self.output_bias
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        durations = self.durations[(joined @ self.duration_output).argmax(-1)] if len(self.durations) else None
        return JointDistributions(log_probs, durations, state_h, state_c)

    def can_search(self, rows):
        return False

    def best(self, *inputs):
        output = self.distributions(*inputs)
        labels = output.log_probs.argmax(-1).astype(np.int32)
        best = np.take_along_axis(output.log_probs, labels[..., None], -1)[..., 0]
        return JointOutput(labels, best, confidence(output.log_probs), output.durations, output.state_h, output.state_c)


def random_frames(seed, frames):
    return np.random.default_rng(seed).standard_normal((frames, 3)).astype(np.float32)


def new_decoder(max_symbols=3, window=4, *, durations=False):
    reader = OptionsReader(
        frame_secs=0.08, labels=BLANK, max_beam_size=16, tokenizer=None, language_model=None, lm_weight=0.0
    )
    greedy = GreedySearch(BLANK, max_symbols, window, VOCABULARY)
    beam = BeamSearch(SHAPE, VOCABULARY, max_symbols)
    return Decoder(SHAPE, VOCABULARY, reader, greedy, beam, 0.08, 10_000, durations)


def new_stream(**options):
    return Stream.new(DecodingOptions(**options), SHAPE)


def decode(decoder, joint, streams, pieces, finalize_after=()):
    """Decode, for every stream, its list of pieces of audio, all streams together; return their segments."""
    segments = [[] for _ in streams]
    for number in range(max(map(len, pieces))):
        chunks = [
            Chunk(stream, row[number], number in finalize_after, end=number == len(row) - 1)
            for stream, row in zip(streams, pieces, strict=True)
            if number < len(row)
        ]
        decoder.decode(chunks, joint)
        for chunk in chunks:
            if chunk.end:
                chunk.stream.end_segment("end", chunk.stream.frames)
        for stream, found in zip(streams, segments, strict=True):
            found.extend(stream.take_finished())
    return segments


def heard(segment):
    """What has to be equal between two ways to the same segment."""
    tokens = segment.tokens
    return tokens.ids, tokens.frames, segment.start_frame, segment.end_frame, segment.rule
