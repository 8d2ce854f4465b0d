"""Puts measured figures into the docs, so that none is typed: `python -m scripts.render_docs [--check]`.

A page holds pairs of comments, `<!-- figures: NAME -->` and `<!-- end -->`; what stands between them is replaced by the
table that NAME makes of its file in `docs/measurements` (see `TABLES`), or by "not measured" while there is none.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.settings_table import settings_table

ROOT = Path(__file__).resolve().parents[1]
MEASUREMENTS = ROOT / "docs" / "measurements"
PAGES = (
    ROOT / "README.md",
    ROOT / "docs" / "decoding.md",
    ROOT / "docs" / "browser.md",
    ROOT / "docs" / "gateway.md",
    ROOT / "docs" / "performance.md",
    ROOT / "docs" / "quality.md",
    ROOT / "docs" / "reliability.md",
    ROOT / "docs" / "settings.md",
    ROOT / "docs" / "tensorrt.md",
    ROOT / "docs" / "zipformer.md",
    ROOT / "model-repo" / "MODEL_CARD.md",
)
_SECTION = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

_FEW_FILES = 5

Figures = dict[str, Any]


def evaluation(figures: Figures) -> str:
    """Word and character error rates by subset, as served."""
    rows = []
    for subset, modes in figures["repositories"][0]["subsets"].items():
        streaming, batch = modes["streaming"], modes["batch"]
        cells = [subset, streaming["files"], streaming["words"]]
        cells += [_wer(streaming), f"{batch['wer']:.1%}", f"{streaming['cer']:.1%}", f"{batch['cer']:.1%}"]
        rows.append([*cells, f"{streaming['rtf']:.3f}", f"{batch['rtf']:.3f}", streaming["empty"]])
    heads = [
        "subset",
        "files",
        "words",
        "WER streaming (95 %)",
        "WER batch",
        "CER streaming",
        "CER batch",
        "RTF streaming",
    ]
    return _table([*heads, "RTF batch", "empty"], rows)


def evaluation_short(figures: Figures) -> str:
    """Streaming error rates by subset."""
    rows = []
    for subset, modes in figures["repositories"][0]["subsets"].items():
        streaming = modes["streaming"]
        rows.append([subset, streaming["files"], streaming["words"], _wer(streaming), f"{streaming['cer']:.1%}"])
    return _table(["subset", "files", "words", "WER (95 %)", "CER"], rows)


def _wer(score: Figures) -> str:
    if score["files"] < _FEW_FILES:  # resampling one or two recordings says nothing
        return f"{score['wer']:.1%}"
    low, high = score["wer_interval"]
    return f"{score['wer']:.1%} ({100 * low:.0f}–{100 * high:.0f})"


def chunk_sizes(figures: Figures) -> str:
    """Streaming word error rate at each chunk size, and how far it is from batch with the same attention context."""
    repositories = sorted(figures["repositories"], key=lambda repository: float(repository["chunk_ms"]))
    subsets = list(repositories[0]["subsets"])
    rows = []
    for repository in repositories:
        modes = repository["subsets"]
        rates = [f"{modes[subset]['streaming']['wer']:.1%}" for subset in subsets]
        rows.append(
            [f"{repository['chunk_ms']:g} ms", *rates, f"{100 * _gap(repository):.1f}", repository["different"]]
        )
    return _table(["chunk", *subsets, "largest difference from batch, points", "transcripts that differ"], rows)


def bars(figures: Figures) -> str:
    """The bars of the default model, and whether it meets them."""
    scores = {subset: modes["streaming"] for subset, modes in figures["repositories"][0]["subsets"].items()}
    limits = {"kokhold": 0.15, "librivox": 0.45, "libri": 0.45, "k2": 0.45, "lj": 0.45}
    rows = [
        [f"WER of {subset}", f"≤ {limit:.0%}", f"{scores[subset]['wer']:.1%}", _met(scores[subset]["wer"] <= limit)]
        for subset, limit in limits.items()
        if subset in scores
    ]
    gap = max(_gap(repository) for repository in figures["repositories"])
    rows.append(["streaming against batch, any chunk size", "≤ 1 point", f"{100 * gap:.1f}", _met(gap <= 0.01)])
    empty = sum(score["empty"] for subset, score in scores.items() if subset != "all")
    rows.append(["empty hypotheses", "0", empty, _met(empty == 0)])
    return _table(["", "bar", "measured", ""], rows)


def _met(met: bool) -> str:  # noqa: FBT001
    return "met" if met else "**missed**"


def _gap(repository: Figures) -> float:
    """The largest difference of streaming and batch WER in any subset."""
    subsets = repository["subsets"].values()
    return max(abs(float(modes["streaming"]["wer"]) - float(modes["batch"]["wer"])) for modes in subsets)


def baselines(figures: Figures) -> str:
    """Word error rates of all recognisers, with size and processor time."""
    systems = figures["systems"]
    subsets = list(systems[0]["subsets"])
    rows = []
    for system in systems:
        scores = system["subsets"]
        rates = [f"{scores[subset]['wer']:.1%}" for subset in subsets]
        name = f"{system['name']} ({system['software']})"
        rows.append([name, system["megabytes"], *rates, _rtf(scores), system["measured"]])
    return _table(["recogniser", "MB", *subsets, "RTF", "measured"], rows)


def _rtf(scores: Figures) -> str:
    """The real-time factor over the real recordings, or over what there is."""
    return f"{scores.get('all', next(iter(scores.values())))['rtf']:.3f}"


def zipformer(figures: Figures) -> str:
    """Word error rates of an imported Zipformer, served and through sherpa-onnx."""
    systems = figures["systems"]
    first = next(iter(systems.values()))
    rows = [
        [subset, counts["files"], counts["words"], *(f"{scores[subset]['wer']:.1%}" for scores in systems.values())]
        for subset, counts in first.items()
    ]
    rows.append(["RTF", "", "", *(f"{scores['all']['rtf']:.3f}" for scores in systems.values())])
    files = first["all"]["files"]
    equal = f"Tokens and times equal those of sherpa-onnx in {files - len(figures['different'])} of {files} recordings."
    return f"{_table(['WER', 'files', 'words', *systems], rows)}\n\n{equal}"


def babble(figures: Figures) -> str:
    """Tokens recognised in sounds without speech."""
    rows = [
        [row["sound"], f"{row['alone']:.1f}", f"{row['after_speech']:.1f}", row["text"]] for row in figures["sounds"]
    ]
    return _table(["sound", "tokens a minute, alone", "after speech", "heard"], rows)


def release(figures: Figures) -> str:
    """What the shipped weights are and where they come from."""
    rows = [
        ["version", figures["version"]],
        ["checkpoint", f"`{figures['checkpoint']}`, SHA-256 `{figures['checkpoint_sha256']}`"],
        ["shipped graphs", f"{figures['graphs_megabytes']} MB"],
    ]
    runs = [f"`{run['command']}`, from {run['date'][:16]}, revision {run['revision']}" for run in figures["training"]]
    rows += [["trained by", run] for run in runs or ["not recorded"]]
    return _table(["", ""], rows, numbers=False)


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
    return _table(heads, rows)


def _local_joint(row: Figures) -> str:
    names = ("server_cpu_ms_per_chunk", "overhead_ms_per_chunk", "streams_at_real_time")
    if f"local_joint_{names[0]}" not in row:
        return "–"
    cpu, overhead, streams = (row[f"local_joint_{name}"] for name in names)
    return f"{cpu:.2f}, **{overhead:.2f}**, {streams:.0f}"


def decoding(figures: Figures) -> str:
    """Word error rates by search."""
    rows = []
    for search in figures["searches"]:
        scores = search["subsets"]
        rows.append([search["name"], *(f"{score['wer']:.1%}" for score in scores.values()), _rtf(scores)])
    return _table(["search", *figures["searches"][0]["subsets"], "RTF"], rows)


def passages(figures: Figures) -> str:
    """Word error rates of readers by search and weight of the phrases."""
    without = {search["name"]: _wer(search["subsets"]["so762"]) for search in figures["searches"]}
    rows = [
        [row["search"], f"{row['weight']:g}", without[row["search"]], _wer(row["passage"]), _wer(row["others"])]
        for row in figures["passages"]
    ]
    heads = ["search", "weight", "no phrases", "the passage and 24 others", "the 24 others alone"]
    return _table(heads, rows)


def stability(figures: Figures) -> str:
    """Changed words of partial results by search."""
    rows = []
    for row in figures["stability"]:
        shares = [f"{row[key] / row['words']:.1%}" for key in ("changed", "grown")]
        rows.append([row["name"], row["words"], *shares, row["broken_promises"]])
    return _table(["search", "words", "changed after being shown", "of these: grown", "had been marked stable"], rows)


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
    return _table(["ms per chunk", *(f"{place}, {count}" for place, count in columns), "ms at START"], rows)


def precisions(figures: Figures) -> str:
    """Error rate, error of the encoder over a long stream, sizes, and processor time, by precision."""
    rows = []
    for row in figures["rows"]:
        low, high = row["wer_interval"]
        quarters = [f"{100 * row[f'mean_error_{name}_quarter']:.3f}" for name in ("first", "last")]
        compiled = row["tensorrt_rtx"]
        taken = (
            "not checked" if compiled is None else "yes" if all(m["accepted"] for m in compiled.values()) else "**no**"
        )
        rows.append(
            [
                row["precision"],
                f"{row['wer']['all']:.1%} ({100 * low:.0f}–{100 * high:.0f})",
                f"{100 * row['largest_error']:.3f}",
                *quarters,
                f"{row['megabytes']['encoder']:.1f}",
                " / ".join(f"{milliseconds:.1f}" for milliseconds in row["encoder_step_ms"].values()),
                taken,
            ]
        )
    heads = ["", "WER (95 %)", "largest error %", "mean, first quarter %", "mean, last quarter %", "encoder MB"]
    return _table([*heads, "CPU ms a step, batch 1 / 8 / 32", "accepted by TensorRT-RTX"], rows)


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
    return _table(heads, rows)


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
    return _table([figures["shape"], ""], rows)


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
    return f"{_table(['callers', 'latency ms, p50 / p99', 'late chunks', 'errors', 'kept up'], rows)}\n\n{found}"


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
    return f"{_table(heads, rows)}\n\n{recording}"


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
    return f"{_table(['first word, ms after it was heard', 'p50', 'p90'], rows)}\n\n{chunk}. In {kept}."


def chaos(figures: Figures) -> str:
    """Streams under each fault, what they lost, and how long they waited."""
    rows = []
    for row in figures["scenarios"]:
        words, recovery = row["difference"], [row["recovery_median_secs"], row["recovery_longest_secs"]]
        memory = [row[when]["private_mb"] for when in ("before", "after") if row[when]]
        rows.append(
            [
                row["scenario"],
                row["streams"],
                row["identical"],
                *words.values(),
                sum(row["failed"].values()),
                row["restarts"],
                " / ".join(f"{secs:.1f}" for secs in recovery if secs is not None),
                " → ".join(f"{megabytes:.0f}" for megabytes in memory),
                row["note"],
            ]
        )
    sums = figures["totals"]
    last = [
        sums["streams"],
        sums["identical"],
        sums["lost"],
        sums["doubled"],
        sums["changed"],
        sum(sums["failed"].values()),
    ]
    rows.append(["**all**", *(f"**{number}**" for number in last), "", "", "", ""])
    heads = ["fault", "streams", "as undisturbed", "words lost", "doubled", "changed", "failed", "restarts"]
    return _table([*heads, "seconds waited, median / longest", "memory MB", ""], rows)


# Name in the pages -> what makes the table, and the file it is made of.
TABLES: dict[str, tuple[Callable[[Figures], str], str]] = {
    "evaluation": (evaluation, "evaluation.json"),
    "evaluation_short": (evaluation_short, "evaluation.json"),
    "bars": (bars, "evaluation.json"),
    "chunk_sizes": (chunk_sizes, "evaluation.json"),
    "baselines": (baselines, "baselines.json"),
    "zipformer": (zipformer, "zipformer.json"),
    "babble": (babble, "babble.json"),
    "release": (release, "release.json"),
    "bench": (bench, "bench.json"),
    "gateway": (gateway, "gateway.json"),
    "draft": (draft, "draft.json"),
    "peers": (peers, "peers.json"),
    "load": (load, "load.json"),
    "soak": (load, "soak.json"),
    "capacity": (capacity, "capacity.json"),
    "precisions": (precisions, "engines.json"),
    "bench_decoding": (bench_decoding, "bench_decoding.json"),
    "chaos": (chaos, "chaos.json"),
    "decoding": (decoding, "decoding.json"),
    "passages": (passages, "decoding.json"),
    "stability": (stability, "decoding.json"),
}


def render(text: str) -> str:
    """Return a page with its figures brought up to date. Raises KeyError for a table that nothing makes."""
    return _SECTION.sub(lambda match: f"{match[1]}{_section(match[2])}\n{match[3]}", text)


def _section(name: str) -> str:
    if name == "settings":
        return settings_table()
    make, file = TABLES[name]
    path = MEASUREMENTS / file
    if not path.exists():
        return "not measured"
    figures = json.loads(path.read_text())
    measured = figures["measured"]
    versions = ", ".join(f"{package} {version}" for package, version in measured["versions"].items())
    circumstances = (
        f"`{measured['command']}` on {measured['date'][:10]}, revision {measured['revision']}; {measured['cpu']}, "
        f"{measured['cores']} cores; Python {measured['python']}, {versions}."
    )
    return f"{make(figures)}\n\n{circumstances}"


def _table(heads: list[str], rows: list[list[Any]], *, numbers: bool = True) -> str:
    lines = [heads, ["---"] + ["---:" if numbers else "---"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main() -> int:
    """Write the pages, or with --check only say which are not up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a page is out of date")
    arguments = parser.parse_args()
    stale = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        rendered = render(text)
        if rendered != text:
            stale.append(page.relative_to(ROOT))
            if not arguments.check:
                page.write_text(rendered, encoding="utf-8")
    for path in stale:
        print(f"{'out of date' if arguments.check else 'updated'}: {path}")
    return 1 if arguments.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
