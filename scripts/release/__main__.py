"""The shipped model as an artifact.

    python -m scripts.release check          # the committed files against CHECKSUMS and expected_outputs.json
    python -m scripts.release adopt FOLDER   # a fresh export against both; replaces model-repo's files if all agrees
    python -m scripts.release record         # after an export of new weights: write both, and the release's figures

Needs neither NeMo nor the network; `make model` and `make release` export first.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from scripts.export.description import ModelDescription
from scripts.export.layout import Layout
from scripts.measurement import write_measurement
from scripts.release.checksums import CHECKPOINT, Checksums, sha256, weights
from scripts.release.expected import (
    EXPECTED_OUTPUTS,
    compute,
    float_differences,
    label_differences,
    load_labels,
    save_labels,
)
from scripts.release.training_runs import RUNS, read_runs

ROOT = Path(__file__).resolve().parents[2]
MODEL_REPO = ROOT / "model-repo"
CLIPS = ROOT / "tests" / "data" / "audio"
DEFAULT_RUNS = ROOT / "scripts" / "train" / "default.runs.jsonl"
RELEASE = ROOT / "docs" / "measurements" / "release.json"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="verify the committed files")
    adopting = commands.add_parser("adopt", help="verify a fresh export and take it over")
    adopting.add_argument("built", type=Path, help="folder of the export")
    recording = commands.add_parser("record", help="make what is in model-repo the release")
    recording.add_argument("--training", type=Path, help="folder of the training: its runs.jsonl is copied")
    arguments = parser.parse_args()
    if arguments.command == "record":
        return record(arguments.training)
    differences = check() if arguments.command == "check" else adopt(arguments.built)
    for sentence in differences:
        print(f"differs: {sentence}", file=sys.stderr)
    return 1 if differences else 0


def check(model_repo: Path = MODEL_REPO) -> list[str]:
    """Return what in a repository is not as its CHECKSUMS and expected outputs have it."""
    found = Checksums.load(model_repo / "CHECKSUMS").differences(Checksums.of(model_repo))
    found += _checkpoint_differences(model_repo, sha256(model_repo / CHECKPOINT))
    expected = load_labels(model_repo / EXPECTED_OUTPUTS)
    found += label_differences(expected, compute(model_repo, CLIPS).labels)
    if not found:
        print("checkpoint, weights and outputs are as expected")
    return found


def adopt(built: Path, model_repo: Path = MODEL_REPO) -> list[str]:
    """Compare a fresh export with what is released, and copy it into the repository if nothing differs.

    Args:
        built: a repository that `python -m scripts.export` wrote.
        model_repo: the repository to compare with and to replace.

    Returns:
        a sentence for everything that differs; then nothing is replaced.
    """
    released = Checksums.load(model_repo / "CHECKSUMS")
    fresh = {name: sha256(built / name) for name in weights(built)}
    fresh |= {name: sha256(model_repo / name) for name in (CHECKPOINT, EXPECTED_OUTPUTS)}
    found = released.differences(Checksums(fresh))
    found += _checkpoint_differences(built, released.files[CHECKPOINT])
    rebuilt, current = compute(built, CLIPS), compute(model_repo, CLIPS)
    found += label_differences(load_labels(model_repo / EXPECTED_OUTPUTS), rebuilt.labels)
    found += float_differences(current.floats, rebuilt.floats)
    if found:
        print(f"{model_repo.name} is left as it is; the export is in {built}", file=sys.stderr)
        return found
    changed = _changes(built, model_repo)
    shutil.copytree(built, model_repo, dirs_exist_ok=True)
    print(f"{len(fresh)} checksums, tokens and frames agree; floats are within tolerance")
    print(f"replaced, with other content: {', '.join(changed) or 'nothing'}")
    return []


def record(training: Path | None) -> int:
    """Write CHECKSUMS, expected outputs and the figures of the release; 1 when the repository is of other weights."""
    checkpoint = MODEL_REPO / CHECKPOINT
    stale = _checkpoint_differences(MODEL_REPO, sha256(checkpoint))
    if stale:
        print(f"not recorded: {stale[0]}; export first", file=sys.stderr)
        return 1
    if training is not None:
        shutil.copyfile(training / RUNS, DEFAULT_RUNS)
    save_labels(MODEL_REPO / EXPECTED_OUTPUTS, compute(MODEL_REPO, CLIPS).labels)
    checksums = Checksums.of(MODEL_REPO)
    checksums.save(MODEL_REPO / "CHECKSUMS")
    layout = Layout(MODEL_REPO)
    graphs = (layout.encoder, layout.encoder_batch, layout.decoder_joint)
    write_measurement(
        RELEASE,
        {
            "version": f"{_version()}+{checksums.files[CHECKPOINT][:8]}",
            "checkpoint": checkpoint.resolve().relative_to(ROOT).as_posix(),
            "checkpoint_sha256": checksums.files[CHECKPOINT],
            "graphs_megabytes": round(sum(path.stat().st_size for path in graphs) / 1e6, 1),
            "training": [asdict(run) for run in read_runs(DEFAULT_RUNS)],
        },
    )
    return 0


def _checkpoint_differences(model_repo: Path, expected: str) -> list[str]:
    actual = ModelDescription.load(Layout(model_repo).description).source.sha256
    if actual == expected:
        return []
    return [f"{model_repo.name} was exported from the checkpoint {actual[:12]}…, expected {expected[:12]}…"]


def _changes(built: Path, model_repo: Path) -> list[str]:
    """Return the names of the files that are not the same in both."""
    names = (path.relative_to(built) for path in sorted(built.rglob("*")) if path.is_file())
    _, different, missing = filecmp.cmpfiles(built, model_repo, [str(name) for name in names], shallow=False)
    return [*different, *missing]


def _version() -> str:
    match = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise ValueError("pyproject.toml has no line `version = …`")
    return match[1]


if __name__ == "__main__":
    sys.exit(main())
