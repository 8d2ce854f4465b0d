"""The sherpa-onnx package on the files that were imported: what the served model must equal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sherpa_onnx

from scripts.export.zipformer.files import find_file
from scripts.export.zipformer.importer import SAMPLE_RATE, TAIL_PADDING_SECS

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Recognised:
    """What it made of one recording.

    Attributes:
        pieces: tokens as text; a leading space starts a word.
        times: seconds of each.
        text: all of them.
    """

    pieces: list[str]
    times: list[float]
    text: str


class Sherpa:
    """Greedy search by sherpa-onnx, streaming, on one thread."""

    def __init__(self, folder: Path, *, int8_joiner: bool = False) -> None:
        """Load the encoder and decoder that an import takes, and its joiner or the int8 one."""
        self._recogniser = sherpa_onnx.OnlineRecognizer.from_transducer(
            tokens=str(folder / "tokens.txt"),
            encoder=str(find_file(folder, "encoder", prefer_int8=True)),
            decoder=str(find_file(folder, "decoder", prefer_int8=False)),
            joiner=str(find_file(folder, "joiner", prefer_int8=int8_joiner)),
            num_threads=1,
            sample_rate=SAMPLE_RATE,
            decoding_method="greedy_search",
        )

    def recognise(self, audio: Float32) -> Recognised:
        """Recognise [samples] at 16 kHz, with the tail padding that an import has by default."""
        stream = self._recogniser.create_stream()
        stream.accept_waveform(SAMPLE_RATE, audio)
        stream.accept_waveform(SAMPLE_RATE, np.zeros(int(TAIL_PADDING_SECS * SAMPLE_RATE), np.float32))
        stream.input_finished()
        while self._recogniser.is_ready(stream):
            self._recogniser.decode_stream(stream)
        result = self._recogniser.get_result_all(stream)
        return Recognised(list(result.tokens), list(result.timestamps), result.text)
