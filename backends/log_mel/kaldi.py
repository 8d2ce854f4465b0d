"""Kaldi filterbank features as sherpa-onnx computes them, and the windows of a streaming Zipformer.

The package is the one that sherpa-onnx contains; the options are those of its `features.cc`. A window is a run of
`window_frames` frames, `chunk_frames` after the one before. The first is complete only with the second chunk, and the
last chunk, with its silence behind it, may complete several: a request carries the windows that it completes, side by
side, which may be none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.parameters import ModelConfig
from log_mel.front_end import Chunk, Window
from log_mel.mel import Float32

# The highest frequency of the filterbank, below half the sample rate, Hz.
_BELOW_NYQUIST = -400


@dataclass
class KaldiState:
    """What one stream keeps between chunks.

    Attributes:
        fbank: `OnlineFbank`, which holds the frames that later windows repeat.
        start: first frame of the next window.
    """

    fbank: Any
    start: int = 0


@dataclass(frozen=True)
class KaldiFrontEnd:
    """Audio to windows.

    Attributes:
        sample_rate: Hz.
        n_mels: mel bands.
        window_frames: frames of a window.
        chunk_frames: new frames of a window.
        tail_padding_samples: zeros behind the last audio, as sherpa-onnx's users feed them.
    """

    sample_rate: int
    n_mels: int
    window_frames: int
    chunk_frames: int
    tail_padding_samples: int

    @staticmethod
    def configured(config: ModelConfig) -> KaldiFrontEnd:
        """Read a model's parameters. Raises ModuleNotFoundError where kaldi-native-fbank is not installed."""
        front_end = KaldiFrontEnd(
            sample_rate=config.integer("sample_rate", 1),
            n_mels=config.integer("n_mels", 1),
            window_frames=config.integer("window_frames", 1),
            chunk_frames=config.integer("chunk_frames", 1),
            tail_padding_samples=config.integer("tail_padding_samples"),
        )
        front_end.new_state()
        return front_end

    def new_state(self) -> KaldiState:
        """State of a stream that has received nothing."""
        import kaldi_native_fbank as knf  # noqa: PLC0415  only imported models need it

        options = knf.FbankOptions()
        options.frame_opts.samp_freq = self.sample_rate
        options.frame_opts.dither = 0
        options.frame_opts.snip_edges = False
        options.mel_opts.num_bins = self.n_mels
        options.mel_opts.high_freq = _BELOW_NYQUIST
        return KaldiState(knf.OnlineFbank(options))

    def windows(self, chunks: Sequence[Chunk[KaldiState]]) -> list[Window]:
        """Add a chunk to each of several streams; return the windows that it completes as one run of frames."""
        runs = [self.accept(chunk.state, chunk.audio, end=chunk.end) for chunk in chunks]
        return [Window(frames, len(frames)) for frames in runs]

    def release(self, state: KaldiState) -> None:
        """Nothing: all of a stream is in its state."""

    def empty_window(self) -> Window:
        """Return no window."""
        return Window(self._no_frames(), 0)

    def accept(self, state: KaldiState, audio: Float32, *, end: bool) -> Float32:
        """Add [samples] of checked audio to a stream.

        Returns:
            the frames of the windows that this completes, [window_frames + k * chunk_frames, n_mels], or [0, n_mels].
        """
        fbank = state.fbank
        fbank.accept_waveform(self.sample_rate, audio.tolist())
        if end:
            fbank.accept_waveform(self.sample_rate, [0.0] * self.tail_padding_samples)
            fbank.input_finished()
        # sherpa-onnx takes a window when there is a frame beyond it.
        windows = max(0, -(-(fbank.num_frames_ready - state.start - self.window_frames) // self.chunk_frames))
        if not windows:
            return self._no_frames()
        new_frames = windows * self.chunk_frames
        stop = state.start + self.window_frames + new_frames - self.chunk_frames
        frames: Float32 = np.stack([fbank.get_frame(index) for index in range(state.start, stop)])
        fbank.pop(new_frames)
        state.start += new_frames
        return frames

    def utterance(self, audio: Float32) -> Float32:
        """Return the frames of all windows of a whole waveform [samples]; as `accept`."""
        return self.accept(self.new_state(), audio, end=True)

    def _no_frames(self) -> Float32:
        return np.zeros((0, self.n_mels), np.float32)
