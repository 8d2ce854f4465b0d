"""sherpa-onnx's greedy search in plain Python over the original files: the reference where the package is absent.

One window at a time, one frame at a time, one stream at a time (online-recognizer-transducer-impl.h,
online-transducer-greedy-search-decoder.cc).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np

from scripts.export.onnx_runner import open_graph, run_graph

SAMPLE_RATE = 16000
TAIL = np.zeros(int(0.66 * SAMPLE_RATE), np.float32)
DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


@dataclass(frozen=True)
class Recognised:
    """Original token ids, seconds of each, and how often `<unk>` was the best and not emitted."""

    tokens: list[int]
    times: list[float]
    unknowns: int


def features_of(audio):
    """Kaldi filterbank features of a whole recording and its tail, [frames, 80]."""
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = 80
    options.mel_opts.high_freq = -400
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(SAMPLE_RATE, np.concatenate([audio, TAIL]).tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(index) for index in range(fbank.num_frames_ready)])


class Reference:
    """A recogniser over the files of a folder."""

    def __init__(self, folder: Path, window=45, chunk=32, context=2) -> None:
        self.encoder, self.decoder, self.joiner = (
            open_graph(next(folder.glob(f"{kind}*.onnx"))) for kind in ("encoder", "decoder", "joiner")
        )
        self.window, self.chunk, self.context = window, chunk, context
        lines = (folder / "tokens.txt").read_text(encoding="utf-8").splitlines()
        self.unknown = next((int(line.split()[-1]) for line in lines if line.startswith("<unk> ")), None)

    def new_states(self):
        """States of a stream that has received nothing."""
        return {
            item.name: np.zeros([1 if isinstance(size, str) else size for size in item.shape], DTYPES[item.type])
            for item in self.encoder.get_inputs()[1:]
        }

    def encode(self, features):
        """Encode [frames, mels] window by window; yields [frames of a window, dim]."""
        states, start = self.new_states(), 0
        while start + self.window < len(features):
            outputs = run_graph(self.encoder, {"x": features[None, start : start + self.window], **states})
            states = {name: outputs[f"new_{name}"] for name in states}
            start += self.chunk
            yield outputs["encoder_out"][0]

    def predict(self, tokens):
        """Output of the prediction network after those ids."""
        y = np.array([([-1] * (self.context - 1) + [0] + tokens)[-self.context :]])
        return run_graph(self.decoder, {"y": y})["decoder_out"]

    def recognise(self, audio) -> Recognised:
        """Greedy search over a recording."""
        tokens, times, frame, unknowns = [], [], 0, 0
        prediction = self.predict(tokens)
        for encoded in self.encode(features_of(audio)):
            for row in encoded:
                logits = run_graph(self.joiner, {"encoder_out": row[None], "decoder_out": prediction})["logit"][0]
                best = int(logits.argmax())
                if best not in (0, self.unknown):
                    tokens.append(best)
                    times.append(frame * 0.04)
                    prediction = self.predict(tokens)
                unknowns += best == self.unknown
                frame += 1
        return Recognised(tokens, times, unknowns)
