"""NeMo's own cache-aware streaming loop over recordings, all in one batch; answers commands on its standard input.

    python -m scripts.peers.nemo_loop CHECKPOINT MODEL_REPO THREADS

Runs in NeMo's environment. Each line is {"mode": "streaming" or "whole", "waveforms": file.npy} with [streams, samples]
float32 at 16 kHz; the answer is one line of JSON with the fields of `system.Run`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.export.description import ModelDescription, StreamingGeometry
from scripts.export.layout import Layout
from scripts.export.reading import load_checkpoint, select_att_context

# Recordings to a batch of whole ones.
_TOGETHER = 8


class NemoLoop:
    """A checkpoint with NeMo's decoding."""

    def __init__(self, checkpoint: Path, geometry: StreamingGeometry) -> None:
        """Load it, with the attention context of the served model."""
        self._model = load_checkpoint(checkpoint)
        select_att_context(self._model, geometry.att_context)
        self._geometry = geometry

    @torch.inference_mode()
    def streaming(self, waveforms: torch.Tensor) -> tuple[list[float], list[str]]:
        """Step through [streams, samples], one chunk of all of them at a time; return ms of each step, and texts."""
        features, lengths = self._features(waveforms)
        geometry, frames = self._geometry, int(lengths.max())
        states = self._model.encoder.get_initial_cache_state(batch_size=len(waveforms))
        hypotheses, latencies = None, []
        start, end = 0, geometry.first_chunk_frames
        while start < frames:
            began = time.perf_counter()
            repeated = geometry.pre_encode_cache_frames if start else 0
            window = features[:, :, max(0, start - repeated) : min(end, frames)]
            _, _, *states, hypotheses = self._model.conformer_stream_step(
                processed_signal=window,
                processed_signal_length=torch.full((len(waveforms),), window.size(2)),
                cache_last_channel=states[0],
                cache_last_time=states[1],
                cache_last_channel_len=states[2],
                keep_all_outputs=end >= frames,
                previous_hypotheses=hypotheses,
                drop_extra_pre_encoded=geometry.drop_extra_pre_encoded if start else 0,
                return_transcription=True,
            )
            latencies.append((time.perf_counter() - began) * 1e3)
            start, end = end, end + geometry.chunk_frames
        return latencies, [self._text(hypothesis) for hypothesis in hypotheses or []]

    @torch.inference_mode()
    def whole(self, waveforms: torch.Tensor) -> tuple[list[float], list[str]]:
        """Recognise whole recordings in batches; return no latencies, and texts."""
        texts = []
        for batch in waveforms.split(_TOGETHER):
            encoded, lengths = self._model.forward(
                input_signal=batch, input_signal_length=torch.full((len(batch),), batch.size(1))
            )
            hypotheses = self._model.decoding.rnnt_decoder_predictions_tensor(
                encoder_output=encoded, encoded_lengths=lengths, return_hypotheses=True
            )
            texts += [self._text(hypothesis) for hypothesis in hypotheses]
        return [], texts

    def _features(self, waveforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features, lengths = self._model.preprocessor(
            input_signal=waveforms, length=torch.full((len(waveforms),), waveforms.size(1))
        )
        return features, lengths

    def _text(self, hypothesis: Any) -> str:
        return str(self._model.tokenizer.ids_to_text([int(token) for token in hypothesis.y_sequence]))


def main() -> None:
    """Answer one line at a time until the input ends."""
    checkpoint, model_repo, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    answers, sys.stdout = sys.stdout, sys.stderr  # NeMo prints
    torch.set_num_threads(threads)
    loop = NemoLoop(checkpoint, ModelDescription.load(Layout(model_repo).description).streaming)
    modes: dict[str, Callable[[torch.Tensor], tuple[list[float], list[str]]]] = {
        "streaming": loop.streaming,
        "whole": loop.whole,
    }
    print(json.dumps({"ready": torch.__version__}), file=answers, flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        waveforms = torch.from_numpy(np.load(command["waveforms"]))
        cpu, wall = time.process_time(), time.perf_counter()
        latencies, texts = modes[command["mode"]](waveforms)
        figures = {
            "cpu_secs": time.process_time() - cpu,
            "wall_secs": time.perf_counter() - wall,
            "latencies_ms": latencies,
            "texts": texts,
        }
        print(json.dumps(figures), file=answers, flush=True)


if __name__ == "__main__":
    main()
