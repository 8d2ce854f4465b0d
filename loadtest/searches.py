"""Times of the decoder's searches over the same encoder frames."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest.frame_by_frame import FrameByFrame
from loadtest.raw_pipeline import read_config
from log_mel.mel import Float32
from rnnt_decoder.decoder import Chunk, Decoder
from rnnt_decoder.joint import Joint
from rnnt_decoder.options import MAX_PHRASES, Parameters

FRAME_BY_FRAME, GREEDY = "frame by frame", "greedy"

# By chunk, then by stream: encoder frames [frames, dim].
Encoded = Sequence[Sequence[Float32]]


@dataclass(frozen=True)
class Search:
    """What streams ask for, and of whom.

    Attributes:
        model: folder of the decoder in a model repository.
        parameters: of START.
    """

    model: str
    parameters: Parameters

    def new_decoder(self) -> Decoder:
        """Return a decoder with empty caches."""
        return Decoder.configured(read_config(Path(self.model)), Path(self.model) / "1")


@dataclass(frozen=True)
class SearchTime:
    """One way to decode some streams.

    Attributes:
        search: what the streams ask for.
        streams: how many, all in one batch.
        ms_per_chunk: milliseconds for a chunk of one stream, median.
        start_ms: to read the request parameters of the first stream that sends them, median.
    """

    search: str
    streams: int
    ms_per_chunk: float
    start_ms: float


def searches(model: Path, model_with_lm: Path | None) -> dict[str, Search]:
    """Return what streams may ask for, by name."""
    decoder = Search(str(model), {}).new_decoder()
    many = json.dumps(_phrases(decoder, MAX_PHRASES))
    parameters: dict[str, Parameters] = {
        GREEDY: {},
        "greedy, 10 phrases": {"phrases": json.dumps(_phrases(decoder, 10))},
        "greedy, 10,000 phrases": {"phrases": many},
        "beam 4": {"beam_size": 4},
        "beam 4, 10,000 phrases": {"beam_size": 4, "phrases": many},
    }
    found = {name: Search(str(model), asked) for name, asked in parameters.items()}
    if model_with_lm is not None:
        found["beam 4, language model"] = Search(str(model_with_lm), {"beam_size": 4, "lm_weight": "0.2"})
    return found


def measure(
    joint: Joint,
    encoded: Encoded,
    asked: dict[str, Search],
    *,
    rounds: int,
    clock: Callable[[], float],
) -> list[SearchTime]:
    """Search the same frames in every way, in turn, `rounds` times, each time with empty caches.

    Args:
        joint: evaluates prediction network and joint.
        encoded: what to search.
        asked: by name; `FRAME_BY_FRAME` is added.
        rounds: how often, after one that does not count.
        clock: seconds.

    Raises:
        RuntimeError: greedy search did not find the tokens of the frame-by-frame loop.
    """
    count, chunks = len(encoded[0]), len(encoded)
    spent: dict[str, list[float]] = {name: [] for name in [FRAME_BY_FRAME, *asked]}
    starts: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(1 + rounds):
        for name, search in asked.items():
            decoder = search.new_decoder()
            streams = [decoder.new_stream() for _ in range(count)]
            with _measured(starts[name], clock):
                decoder.prepare(streams[0], search.parameters, start=True)
            for stream in streams[1:]:
                decoder.prepare(stream, search.parameters, start=True)
            with _measured(spent[name], clock):
                for number, pieces in enumerate(encoded, 1):
                    pairs = zip(streams, pieces, strict=True)
                    decoder.decode([Chunk(*pair, finalize=False, end=number == chunks) for pair in pairs], joint)
            if name == GREEDY:
                plain = FrameByFrame(decoder.shape, decoder.greedy.max_symbols_per_step, count)
                with _measured(spent[FRAME_BY_FRAME], clock):
                    for pieces in encoded:
                        plain.decode(pieces, joint)
                if [stream.alternatives()[0].tokens.ids for stream in streams] != plain.tokens:
                    raise RuntimeError("greedy search and the frame-by-frame loop found different tokens")
    return [
        SearchTime(
            name,
            count,
            ms_per_chunk=statistics.median(times[1:]) / count / chunks * 1e3,
            start_ms=statistics.median(starts[name][1:]) * 1e3 if name in starts else 0.0,
        )
        for name, times in spent.items()
    ]


def _phrases(decoder: Decoder, count: int) -> list[str]:
    """Return phrases of two made-up words: random tokens of the vocabulary."""
    random = np.random.default_rng(0)
    starts = [piece[1:] for piece in decoder.vocabulary.pieces if piece.startswith("▁") and len(piece) > 1]
    others = [piece for piece in decoder.vocabulary.pieces if piece.isalpha()]
    phrases: set[str] = set()
    while len(phrases) < count:
        words = [random.choice(starts) + "".join(random.choice(others, 2)) for _ in range(2)]
        phrases.add(" ".join(words))
    return sorted(phrases)


@contextmanager
def _measured(times: list[float], clock: Callable[[], float]) -> Iterator[None]:
    """Add the seconds of the context to a list."""
    began = clock()
    yield
    times.append(clock() - began)
