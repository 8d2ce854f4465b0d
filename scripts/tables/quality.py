"""Tables of how well speech is recognised."""

from __future__ import annotations

from scripts.tables.markdown import Figures, table

_FEW_FILES = 5


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
    return table([*heads, "RTF batch", "empty"], rows)


def evaluation_short(figures: Figures) -> str:
    """Streaming error rates by subset."""
    rows = []
    for subset, modes in figures["repositories"][0]["subsets"].items():
        streaming = modes["streaming"]
        rows.append([subset, streaming["files"], streaming["words"], _wer(streaming), f"{streaming['cer']:.1%}"])
    return table(["subset", "files", "words", "WER (95 %)", "CER"], rows)


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
    return table(["chunk", *subsets, "largest difference from batch, points", "transcripts that differ"], rows)


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
    return table(["", "bar", "measured", ""], rows)


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
    return table(["recogniser", "MB", *subsets, "RTF", "measured"], rows)


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
    return f"{table(['WER', 'files', 'words', *systems], rows)}\n\n{equal}"


def babble(figures: Figures) -> str:
    """Tokens recognised in sounds without speech."""
    rows = [
        [row["sound"], f"{row['alone']:.1f}", f"{row['after_speech']:.1f}", row["text"]] for row in figures["sounds"]
    ]
    return table(["sound", "tokens a minute, alone", "after speech", "heard"], rows)


def decoding(figures: Figures) -> str:
    """Word error rates by search."""
    rows = []
    for search in figures["searches"]:
        scores = search["subsets"]
        rows.append([search["name"], *(f"{score['wer']:.1%}" for score in scores.values()), _rtf(scores)])
    return table(["search", *figures["searches"][0]["subsets"], "RTF"], rows)


def passages(figures: Figures) -> str:
    """Word error rates of readers by search and weight of the phrases."""
    without = {search["name"]: _wer(search["subsets"]["so762"]) for search in figures["searches"]}
    rows = [
        [row["search"], f"{row['weight']:g}", without[row["search"]], _wer(row["passage"]), _wer(row["others"])]
        for row in figures["passages"]
    ]
    heads = ["search", "weight", "no phrases", "the passage and 24 others", "the 24 others alone"]
    return table(heads, rows)


def stability(figures: Figures) -> str:
    """Changed words of partial results by search."""
    rows = []
    for row in figures["stability"]:
        shares = [f"{row[key] / row['words']:.1%}" for key in ("changed", "grown")]
        rows.append([row["name"], row["words"], *shares, row["broken_promises"]])
    return table(["search", "words", "changed after being shown", "of these: grown", "had been marked stable"], rows)
