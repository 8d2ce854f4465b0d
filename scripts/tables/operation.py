"""Tables of the release, of engines, and of faults made on purpose."""

from __future__ import annotations

from scripts.tables.markdown import Figures, table


def release(figures: Figures) -> str:
    """What the shipped weights are and where they come from."""
    rows = [
        ["version", figures["version"]],
        ["checkpoint", f"`{figures['checkpoint']}`, SHA-256 `{figures['checkpoint_sha256']}`"],
        ["shipped graphs", f"{figures['graphs_megabytes']} MB"],
    ]
    runs = [f"`{run['command']}`, from {run['date'][:16]}, revision {run['revision']}" for run in figures["training"]]
    rows += [["trained by", run] for run in runs or ["not recorded"]]
    return table(["", ""], rows, numbers=False)


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
    return table([*heads, "CPU ms a step, batch 1 / 8 / 32", "accepted by TensorRT-RTX"], rows)


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
                f"{row['unready_secs']:.1f}",
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
    rows.append(["**all**", *(f"**{number}**" for number in last), "", "", "", "", ""])
    heads = ["fault", "streams", "as undisturbed", "words lost", "doubled", "changed", "failed", "restarts"]
    return table([*heads, "s not ready", "s without news, median / longest", "memory MB", ""], rows)
