"""Encoder steps on this GPU: `python -m scripts.bench_gpu --out figures.json [--minutes 10]`. Needs torch only.

Random weights in the sizes of the 0.6B and the 114M FastConformer; every batch, chunk size, FP16 and FP32, eager and
as a CUDA graph; and what the prediction network and joint add. Products of FP32 are in TF32. A cell is written as soon
as it is measured, and a run that was cut off goes on with the cells that are missing. Without a GPU it refuses, unless
--device cpu says otherwise.

This measures the computation. Streams under Triton, paced, are what `make loadtest` measures on a server.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scripts.gpu.cell_file import CellFile
from scripts.gpu.command import cell_or_reason, device_name
from scripts.gpu.fastconformer import Sizes, SlottedEncoder

ENCODERS = {
    "0.6B": Sizes(layers=24, model_dim=1024, heads=8),
    "114M": Sizes(layers=17, model_dim=512, heads=8, n_mels=80),
}
TINY = {"tiny": Sizes(layers=2, model_dim=32, heads=4, n_mels=16, channels=8, left_context=14)}
CHUNK_FRAMES = (14, 7, 4, 2, 1)
BATCHES = tuple(1 << power for power in range(11))
FRAME_MS = 80
_REPEATS = 20


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    encoder: str
    chunk_frames: int
    batch: int
    dtype: str
    graph: bool

    @property
    def key(self) -> str:
        """Name in the file."""
        return f"{self.encoder} {self.chunk_frames * FRAME_MS} ms x{self.batch} {self.dtype} {self.mode}"

    @property
    def mode(self) -> str:
        """How the step is launched."""
        return "graph" if self.graph else "eager"


def cells(encoders: dict[str, Sizes], batches: tuple[int, ...], *, graphs: bool) -> Iterator[Cell]:
    """Yield all cells, those that decide about streams first: FP16 graphs of the large encoder, long chunks."""
    modes = (True, False) if graphs else (False,)
    for dtype, graph, encoder in itertools.product(("float16", "float32"), modes, encoders):
        for frames, batch in itertools.product(CHUNK_FRAMES, batches):
            yield Cell(encoder, frames, batch, dtype, graph)


def measure(cell: Cell, sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Return milliseconds of a step, streams at real time, bytes of a stream, and the decoder's milliseconds a call."""
    torch.manual_seed(0)
    dtype: torch.dtype = getattr(torch, cell.dtype)
    with device:  # random numbers for 0.6 billion weights take a processor seconds
        encoder = SlottedEncoder(sizes, cell.batch, cell.chunk_frames).to(dtype).eval()
        decoder = Decoder(sizes.model_dim).to(dtype).eval()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    features = torch.randn(cell.batch, encoder.window_frames, sizes.n_mels, device=device, dtype=dtype)
    slots = torch.randperm(cell.batch, device=device)
    times = _times(_launcher(lambda: encoder(features, slots), device, graph=cell.graph), device)
    frames = torch.randn(cell.batch, cell.chunk_frames, sizes.model_dim, device=device, dtype=dtype)
    state = torch.randn(cell.batch, 640, device=device, dtype=dtype)
    decoding = _times(_launcher(lambda: decoder(frames, state), device, graph=cell.graph), device)
    step = statistics.median(times)
    return {
        **asdict(cell),
        "step_ms": step,
        "step_ms_p99": sorted(times)[int(0.99 * len(times))],
        "streams_at_real_time": int(cell.batch * cell.chunk_frames * FRAME_MS / step),
        "bytes_per_stream": encoder.bytes_per_stream,
        "decoder_call_ms": statistics.median(decoding),
        "peak_gigabytes": torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None,
    }


class Decoder(nn.Module):
    """One call of label-looping: an LSTM step, and the joint of all frames of a chunk, for 1,024 labels and blank."""

    def __init__(self, encoder_dim: int) -> None:
        """Make random weights in the usual sizes."""
        super().__init__()
        self.lstm = nn.LSTMCell(640, 640)
        self.encoder, self.prediction, self.out = nn.Linear(encoder_dim, 640), nn.Linear(640, 640), nn.Linear(640, 1025)

    @torch.no_grad()
    def forward(self, encoded: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Return the best label of every frame, [B, T], of encoded [B, T, encoder_dim] and state [B, 640]."""
        hidden, _ = self.lstm(state, (state, state))
        joined = torch.relu(self.encoder(encoded) + self.prediction(hidden).unsqueeze(1))
        labels: torch.Tensor = self.out(joined).argmax(dim=-1)
        return labels


def _launcher(step: Callable[[], Any], device: torch.device, *, graph: bool) -> Callable[[], Any]:
    """Return what runs a step: itself, or the replay of its CUDA graph."""
    if not graph:
        return step
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(aside)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        step()
    replay: Callable[[], Any] = captured.replay
    return replay


def _times(run: Callable[[], Any], device: torch.device) -> list[float]:
    """Return milliseconds of each run, the device idle before and after."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for _ in range(3):
        run()
    times = []
    for _ in range(_REPEATS):
        wait()
        began = time.perf_counter()
        run()
        wait()
        times.append(1000 * (time.perf_counter() - began))
    return times


def run(out: Path, device: torch.device, encoders: dict[str, Sizes], batches: tuple[int, ...], minutes: float) -> int:
    """Measure what is missing in the file until the time is over; return how many cells are still missing."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, as in the engines and the served encoder
    figures = CellFile(out, device_name(device.type))
    planned = {cell.key: cell for cell in cells(encoders, batches, graphs=device.type == "cuda")}

    def measured(key: str) -> dict[str, Any]:
        cell = _measure_or_say(planned[key], encoders[planned[key].encoder], device)
        print(key, cell.get("step_ms"), flush=True)
        return cell

    return figures.complete(list(planned), measured, minutes)


def _measure_or_say(cell: Cell, sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Measure a cell; what does not fit into memory is an answer, too."""

    def measured() -> dict[str, Any]:
        try:
            return measure(cell, sizes, device)
        except torch.cuda.OutOfMemoryError:
            return {**asdict(cell), "out_of_memory": True}

    # A capture that ran out of memory may end with another error, which is a reason and no answer.
    return {**asdict(cell), **cell_or_reason(device.type, measured)}


def main() -> int:
    """Command line. The exit status is 3 when cells are missing: call again to go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, required=True, help="file of this GPU's figures; a present one is completed"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="begin no cell after so long")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="a tiny encoder, to try the command")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no GPU that this torch can use; --device cpu measures a processor", file=sys.stderr)
        return 1
    batches = (1, 2) if arguments.tiny else BATCHES
    encoders = TINY if arguments.tiny else ENCODERS
    missing = run(arguments.out, torch.device(arguments.device), encoders, batches, arguments.minutes)
    if missing:
        print(f"{missing} cells are missing: call again to go on", file=sys.stderr)
    return 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
