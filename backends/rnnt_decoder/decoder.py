"""What the decoder does with a batch of chunks, apart from Triton."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.parameters import ModelConfig
from rnnt_decoder.beam import Beam
from rnnt_decoder.beam_search import BeamSearch
from rnnt_decoder.chunk_greedy import is_plain
from rnnt_decoder.endpoints import END, FINALIZE
from rnnt_decoder.greedy import GreedySearch
from rnnt_decoder.hypothesis import PredictionShape
from rnnt_decoder.joint import Float32, Joint
from rnnt_decoder.language_model import DensityRatio, LanguageModel, TokenLanguageModel
from rnnt_decoder.options import DecodingOptions, OptionsReader, Parameters
from rnnt_decoder.stream import Stream
from rnnt_decoder.tokenizer import Tokenizer
from rnnt_decoder.transcript import transcript
from rnnt_decoder.vocabulary import Vocabulary

Outputs = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Chunk:
    """Encoder frames of one stream and what shall happen with them.

    Attributes:
        stream: its state.
        encoded: [frames, dim] float32, valid frames only.
        finalize: whether the segment ends with this chunk.
        end: whether the stream does.
    """

    stream: Stream
    encoded: Float32
    finalize: bool
    end: bool


@dataclass(frozen=True)
class Decoder:
    """The searches and what they share.

    Attributes:
        shape: of the prediction network.
        vocabulary: pieces by token id.
        options: reads request parameters.
        greedy: for streams with a beam of one.
        beam: for the others.
        frame_secs: seconds to an encoder frame.
        max_total_tokens: most tokens that a stream may keep before its segment ends.
        has_durations: whether the joint predicts durations (TDT).
    """

    shape: PredictionShape
    vocabulary: Vocabulary
    options: OptionsReader
    greedy: GreedySearch
    beam: BeamSearch
    frame_secs: float
    max_total_tokens: int
    has_durations: bool

    @staticmethod
    def configured(config: ModelConfig, folder: Path) -> Decoder:
        """Read a model's parameters and the files beside it.

        Raises:
            ValueError, FileNotFoundError, ModuleNotFoundError: a parameter or file that cannot be used; it is named.
        """
        shape = PredictionShape.configured(config)
        vocabulary = Vocabulary.load(folder / config.text("vocabulary"), expected_size=shape.blank_id)
        tokenizer, language_model = config.optional_text("tokenizer"), _language_model(config, folder, vocabulary)
        has_durations = config.boolean("durations")
        reader = OptionsReader(
            frame_secs=config.number("frame_secs"),
            labels=shape.blank_id,
            max_beam_size=1 if has_durations else config.integer("max_beam_size", 1),
            tokenizer=Tokenizer(folder / tokenizer) if tokenizer else None,
            language_model=language_model,
            lm_weight=config.number("lm_weight") if language_model else 0.0,
        )
        return Decoder(
            shape=shape,
            vocabulary=vocabulary,
            options=reader,
            greedy=GreedySearch.configured(config, vocabulary),
            beam=BeamSearch.configured(config, vocabulary),
            frame_secs=config.number("frame_secs"),
            max_total_tokens=config.integer("max_total_tokens", 1),
            has_durations=has_durations,
        )

    def new_stream(self) -> Stream:
        """Return a stream that has not said yet what it wants."""
        return Stream.new(DecodingOptions(), self.shape)

    def prepare(self, stream: Stream, parameters: Parameters, *, start: bool) -> bool:
        """Apply the request parameters of a chunk; return whether it finalizes its segment.

        Raises:
            ValueError: a parameter that is unknown, not allowed, or comes too late; it is named.
        """
        if not start:
            return self.options.check_later(parameters)
        stream.begin(self.options.read(parameters))
        return self.options.finalizes(parameters)

    def groups(self, chunks: Sequence[Chunk], joint: Joint) -> list[list[Chunk]]:
        """Return the chunks by what their searches call, so that a call that fails is the end of those in it only."""
        beams = [chunk for chunk in chunks if isinstance(chunk.stream.search, Beam)]
        greedy = [chunk for chunk in chunks if not isinstance(chunk.stream.search, Beam)]
        plain = [chunk for chunk in greedy if is_plain(chunk.stream)]
        if not joint.can_search(len(plain)):
            return [group for group in (greedy, beams) if group]
        others = [chunk for chunk in greedy if not is_plain(chunk.stream)]
        return [group for group in (plain, others, beams) if group]

    def decode(self, chunks: Sequence[Chunk], joint: Joint) -> None:
        """Search the frames of several streams together, and end the segments that shall end with their chunk."""
        greedy = [chunk for chunk in chunks if not isinstance(chunk.stream.search, Beam)]
        beams = [chunk for chunk in chunks if isinstance(chunk.stream.search, Beam)]
        if greedy:
            lengths = np.array([len(chunk.encoded) for chunk in greedy], np.int64)
            encoded = np.zeros((len(greedy), int(lengths.max()), greedy[0].encoded.shape[1]), np.float32)
            for padded, chunk in zip(encoded, greedy, strict=True):
                padded[: len(chunk.encoded)] = chunk.encoded
            self.greedy(encoded, lengths, [chunk.stream for chunk in greedy], joint)
        if beams:
            flush = [chunk.finalize or chunk.end for chunk in beams]
            self.beam([chunk.encoded for chunk in beams], [chunk.stream for chunk in beams], flush, joint)
        for chunk in chunks:
            if chunk.finalize and not chunk.end:
                chunk.stream.end_segment(FINALIZE, chunk.stream.frames)

    def result(self, stream: Stream, *, end: bool) -> Outputs | Exception:
        """Return the outputs for a stream's latest chunk."""
        if end:
            stream.end_segment(END, stream.frames)
        current = stream.alternatives()
        if not end and len(current[0].tokens) > self.max_total_tokens:
            return ValueError(
                f"the segment has {len(current[0].tokens)} tokens; max_total_tokens allows {self.max_total_tokens}: "
                "send END to collect them and START a new sequence, or use endpointing"
            )
        return transcript(
            stream.take_finished(),
            current,
            stable=stream.stable_tokens,
            vocabulary=self.vocabulary,
            frames=stream.frames,
            frame_secs=self.frame_secs,
            is_final=end,
        )


def _language_model(config: ModelConfig, folder: Path, vocabulary: Vocabulary) -> LanguageModel | None:
    path, source = config.optional_text("language_model"), config.optional_text("source_language_model")
    if path is None:
        return None
    model = TokenLanguageModel(folder / path, vocabulary)
    return DensityRatio(model, TokenLanguageModel(folder / source, vocabulary)) if source else model
