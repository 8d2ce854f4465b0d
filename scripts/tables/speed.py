"""Tables of latency, throughput and processor time."""

from __future__ import annotations

from typing import Any

from scripts.tables.markdown import Figures, table


def bench(figures: Figures) -> str:
    """Processor time per chunk against the raw computation, and latencies."""
    rows = [
        [
            row["streams"],
            f"{row['raw_cpu_ms_per_chunk']:.2f}",
            f"{row['server_cpu_ms_per_chunk']:.2f}",
            f"**{row['overhead_ms_per_chunk']:.2f}**",
            f"{row['closed_loop_p50_ms']:.0f} / {row['closed_loop_p95_ms']:.0f}",
            f"{row['paced_p50_ms']:.0f} / {row['paced_p95_ms']:.0f} / {row['paced_p99_ms']:.0f}",
            f"{row['streams_at_real_time']:.0f}",
            _local_joint(row),
        ]
        for row in figures["rows"]
    ]
    heads = [
        "streams",
        "raw CPU ms per chunk",
        "server CPU ms per chunk",
        "overhead ms per chunk",
        "latency ms at full speed, p50 / p95",
        "latency ms at real-time pace, p50 / p95 / p99",
        "streams at real time",
        "with `AMIRA_JOINT=local`: CPU, overhead, streams",
    ]
    return table(heads, rows)


def cost(figures: Figures) -> str:
    """Processor time of a chunk at the pace of speech, by process."""
    parts = list(figures["rows"][0]["parts"])
    rows = [
        [
            row["streams"],
            row["way"],
            f"**{row['total']:.2f}**",
            *(f"{row['parts'][part]:.2f}" for part in parts),
            f"{row['total'] / figures['chunk_secs']:.1f}",
            f"{row['p50_ms']:.0f} / {row['p95_ms']:.0f}",
        ]
        for row in figures["rows"]
    ]
    names = [name if name == "others" else f"`{name}`" for name in parts]
    heads = ["streams", "", "CPU ms a chunk", *names, "CPU ms a second of audio", "latency ms, p50 / p95"]
    raw = (
        f"The same work in one process, one chunk a call, without pauses: {figures['raw_ms_per_chunk']:.2f} ms a chunk."
    )
    return f"{table(heads, rows)}\n\n{raw}"


def _local_joint(row: Figures) -> str:
    names = ("server_cpu_ms_per_chunk", "overhead_ms_per_chunk", "streams_at_real_time")
    if f"local_joint_{names[0]}" not in row:
        return "–"
    cpu, overhead, streams = (row[f"local_joint_{name}"] for name in names)
    return f"{cpu:.2f}, **{overhead:.2f}**, {streams:.0f}"


def bench_decoding(figures: Figures) -> str:
    """Time of the decoder for a chunk, by what streams ask for."""
    places = ("alone", "in the server")
    counts = sorted({time["streams"] for time in figures[places[0]]})
    found = {(place, item["search"], item["streams"]): item for place in places for item in figures[place]}
    columns = [(place, count) for place in places for count in counts]
    rows: list[list[Any]] = []
    for name in dict.fromkeys(item["search"] for item in figures[places[0]]):
        times = [f"{found[place, name, count]['ms_per_chunk']:.2f}" for place, count in columns]
        rows.append([name, *times, f"{found[places[0], name, counts[0]]['start_ms']:.1f}"])
    ratios = [
        found[place, "frame by frame", count]["ms_per_chunk"] / found[place, "greedy", count]["ms_per_chunk"]
        for place, count in columns
    ]
    rows.append(["frame by frame / greedy", *(f"**{ratio:.1f}**" for ratio in ratios), ""])
    return table(["ms per chunk", *(f"{place}, {count}" for place, count in columns), "ms at START"], rows)


def peers(figures: Figures) -> str:
    """The recognisers of each model side by side."""
    rows = []
    for model, systems in figures["models"].items():
        for row in systems:
            pace = f"{1e3 * row['paced_cpu_per_audio_sec']:.1f}" if row["paced_cpu_per_audio_sec"] is not None else "–"
            cells = [
                model,
                row["system"],
                f"{row['streams_at_real_time']:.0f}",
                f"{1e3 * row['cpu_per_audio_sec']:.1f}",
            ]
            cells += [_latencies(row["full_speed_ms"]), pace, _latencies(row["paced_ms"])]
            rows.append([*cells, f"{row['whole_x_real_time']:.0f}", f"{row['same_texts']} of {row['streams']}"])
    heads = [
        "model",
        "",
        "streams at real time",
        "CPU ms a second of audio",
        "latency ms at full speed, p50 / p95 / p99",
        "CPU ms a second at real-time pace",
        "latency ms at real-time pace, p50 / p95 / p99",
        "whole recordings, x real time",
        "same text as ours",
    ]
    return table(heads, rows)


def load(figures: Figures) -> str:
    """One load test with Locust's callers."""
    rows: list[list[Any]] = [
        ["most callers at once", figures["peak"]],
        ["seconds", f"{figures['seconds']:.0f}"],
        ["streams", figures["streams"]],
        ["chunks", figures["chunks"]],
        ["hung up, called again", f"{figures['hang_ups']}, {figures['reconnects']}"],
        ["errors", figures["errors"]],
        ["late chunks", figures["late_chunks"]],
        ["chunk latency ms, p50 / p95 / p99", _latencies(figures["chunk_ms"])],
        ["time to first partial ms, p50 / p95 / p99", _latencies(figures["first_partial_ms"])],
        ["final after end of speech ms, p50 / p95 / p99", _latencies(figures["final_ms"])],
        ["private memory of all server processes MB, first / last quarter", _slashes(figures["memory_mb"])],
    ]
    return table([figures["shape"], ""], rows)


def capacity(figures: Figures) -> str:
    """The trials of the search for the most streams at real time."""
    trials = sorted(figures["trials"], key=lambda trial: int(trial["streams"]))
    rows = [
        [
            trial["streams"],
            f"{trial['p50_ms']:.0f} / {trial['p99_ms']:.0f}",
            trial["late"],
            trial["errors"],
            "yes" if trial["kept_up"] else "no",
        ]
        for trial in trials
    ]
    found = f"**{figures['streams']} streams** on {figures['cores']} cores, the callers on the same cores."
    return f"{table(['callers', 'latency ms, p50 / p99', 'late chunks', 'errors', 'kept up'], rows)}\n\n{found}"


def _latencies(values: list[float] | None) -> str:
    return _slashes(values) if values else "–"


def _slashes(values: list[float]) -> str:
    return " / ".join(f"{value:.0f}" for value in values)


def gateway(figures: Figures) -> str:
    """Latency of a chunk through the gateway and without it."""
    rows = [
        [
            row["streams"],
            f"{row['direct_p50_ms']:.1f} / {row['direct_p95_ms']:.1f}",
            f"{row['gateway_p50_ms']:.1f} / {row['gateway_p95_ms']:.1f}",
            f"**{row['added_p50_ms']:.1f}**",
            f"{row['gateway_cpu_ms_per_chunk']:.2f}",
        ]
        for row in figures["rows"]
    ]
    heads = ["streams", "direct ms, p50 / p95", "gateway ms, p50 / p95", "added ms, p50", "gateway CPU ms per chunk"]
    batch = figures["batch"]
    recording = (
        f"A recording of 10 s, four at a time: {batch['direct_ms']:.0f} ms direct, {batch['gateway_ms']:.0f} ms "
        f"through the gateway, {batch['gateway_cpu_ms']:.1f} ms of it processor time of the gateway (medians)."
    )
    return f"{table(heads, rows)}\n\n{recording}"


def draft(figures: Figures) -> str:
    """Time to the first word on the page, with and without the draft."""
    rows = [
        [name, *(f"{figures[key][percentile]:.0f}" for percentile in ("p50", "p90"))]
        for name, key in (("server alone", "server_ms"), ("with the draft", "draft_ms"), ("sooner by", "gained_ms"))
    ]
    kept = f"{figures['kept']} of {figures['sessions']} sessions the transcript begins with what the draft showed first"
    chunk = (
        f"Chunks of {figures['draft_chunk_ms']:.0f} ms in the page, {figures['server_chunk_ms']:.0f} ms on the server"
    )
    return f"{table(['first word, ms after it was heard', 'p50', 'p90'], rows)}\n\n{chunk}. In {kept}."
