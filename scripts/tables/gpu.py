"""Tables of what `make bench-gpu` measured on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.tables.markdown import Figures, table

_FRAME_MS = 80


def served(figures: Figures) -> str:
    """The served encoder: milliseconds of a step by batch, and how far its frames are off, by way to run it."""
    cells = _measured(figures)
    batches = _batches(cell["steps"] for cell in cells.values())
    rows = []
    for way, cell in cells.items():
        times = [f"{cell['steps'][batch]['ms']:.2f} / {cell['steps'][batch]['ms_p99']:.2f}" for batch in batches]
        most = max(step["streams_at_real_time"] for step in cell["steps"].values())
        before = [f"{100 * cell['largest_error']:.3f}", f"{cell['prepare_secs']:.1f}", _gigabytes(cell)]
        rows.append([way, *before, *times, f"{most:,}"])
    heads = [
        "",
        "largest error %",
        "s to get ready",
        "GB of the GPU",
        *(f"ms, batch {batch}, p50 / p99" for batch in batches),
    ]
    return _with_device(figures, table([*heads, "streams at real time"], rows))


def steps(figures: Figures) -> str:
    """Features and greedy search: milliseconds and processor time of a batch, and the search's share of a step."""
    cells = _measured(figures)
    batches = _batches(cell["batches"] for cell in cells.values())
    rows = []
    for what, cell in cells.items():
        largest = cell["batches"][batches[-1]]
        times = [f"{cell['batches'][batch]['ms']:.2f}" for batch in batches]
        same = f"{min(one['labels_equal'] for one in cell['batches'].values()):.2%}" if "share" in largest else ""
        share = f"{largest['share']:.0%}" if "share" in largest else ""
        rows.append([what, *times, f"{largest['processor_ms']:.2f}", share, same])
    heads = ["", *(f"ms, batch {batch}" for batch in batches)]
    last = [f"CPU ms, batch {batches[-1]}", "of search and encoder", "labels as on the processor"] if batches else []
    return _with_device(figures, table([*heads, *last], rows))


def pipeline(figures: Figures) -> str:
    """The whole pipeline under Triton: the most paced streams that it kept up with, by way to run it."""
    rows = []
    for way, cell in _measured(figures).items():
        kept = [trial for trial in cell["trials"] if trial["kept_up"]]
        last = kept[-1] if kept else None
        open_end = "" if len(kept) < len(cell["trials"]) else " or more"
        values = [f"{last[key]:.0f}" for key in ("p50_ms", "p95_ms", "p99_ms")] if last else []
        used = [f"{last['server_cores']:.1f}", f"{last['server_gigabytes']:.1f}"] if last else ["–", "–"]
        most = f"{last['streams'] if last else 0:,}{open_end}"
        rows.append([way, most, " / ".join(values) or "–", *used, _gigabytes(cell)])
    heads = ["", "streams", "latency ms, p50 / p95 / p99", "cores of the server", "GB of the host", "GB of the GPU"]
    return _with_device(figures, table(heads, rows))


def encoders(figures: Figures) -> str:
    """Encoders of random weights: by size, chunk, precision and launch, the batch that serves most streams in time."""
    groups: dict[tuple[str, int, str, bool], list[dict[str, Any]]] = {}
    for cell in _measured(figures).values():
        if "step_ms" in cell:
            key = (cell["encoder"], cell["chunk_frames"], cell["dtype"], cell["graph"])
            groups.setdefault(key, []).append(cell)
    rows = []
    for (encoder, frames, dtype, graph), cells in groups.items():
        alone = min(cells, key=lambda cell: int(cell["batch"]))
        in_time = [cell for cell in cells if cell["step_ms_p99"] < frames * _FRAME_MS]
        best = max(in_time, key=lambda cell: int(cell["streams_at_real_time"]), default=None)
        row = [f"{encoder}, {frames * _FRAME_MS} ms", f"{dtype}, {'graph' if graph else 'eager'}"]
        row += [f"{alone['step_ms']:.2f}", f"{alone['bytes_per_stream'] / 1e6:.1f}"]
        if best is None:
            rows.append([*row, "0", "–", "–", "–"])
            continue
        share = best["decoder_call_ms"] / (best["decoder_call_ms"] + best["step_ms"])
        times = f"{best['step_ms']:.2f} / {best['step_ms_p99']:.2f}"
        rows.append([*row, f"{best['streams_at_real_time']:,}", best["batch"], times, f"{share:.0%}"])
    heads = ["", "", "ms, batch 1", "MB a stream", "streams at real time", "in batches of", "ms, p50 / p99"]
    return _with_device(figures, table([*heads, "of one call of the decoder and it"], rows))


def _measured(figures: Figures) -> dict[str, dict[str, Any]]:
    return {key: cell for key, cell in figures["cells"].items() if "not_run" not in cell}


def _with_device(figures: Figures, made: str) -> str:
    """Add the device, and what could not be run there. Raises ValueError where that is a processor."""
    if figures["device"] == "cpu":
        raise ValueError("these figures are of a processor; the page wants those of a GPU")
    reasons = [f"\n\nNot run: {key}: {cell['not_run']}" for key, cell in figures["cells"].items() if "not_run" in cell]
    return f"{figures['device']}:\n\n{made}{''.join(reasons)}"


def _gigabytes(cell: dict[str, Any]) -> str:
    return "–" if cell["device_gigabytes"] is None else f"{cell['device_gigabytes']:.1f}"


def _batches(cells: Iterator[dict[str, Any]]) -> list[str]:
    return sorted({batch for cell in cells for batch in cell}, key=int)
