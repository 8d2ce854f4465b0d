"""Whether the server has become slower: ratios measured in one run, against those of a stored baseline.

    python -m loadtest.bench_check

Processor time of the server by that of the raw computation, and of the frame-by-frame search by ours: what another
machine or other work on this one changes, it changes in both. Each side counts with its least disturbed round. The
limits in `bench_baseline.yaml` leave room for the noise that remains. The exit status is 1 when one is broken.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from threadpoolctl import threadpool_limits

from loadtest.bench import ROOT, clip_speech, cpu_secs, raw_round
from loadtest.closed_loop import run_streams
from loadtest.raw_pipeline import RawPipeline
from loadtest.searches import FRAME_BY_FRAME, GREEDY, Search, measure
from log_mel.mel import Float32
from scripts.serving.server import TritonServer
from scripts.serving.staging import RepositorySettings
from scripts.serving.temporary import serve

BASELINE = Path(__file__).with_name("bench_baseline.yaml")
_ROUNDS, _CHUNKS = 3, 8


@dataclass(frozen=True)
class Limit:
    """What a ratio was, and how far it may go.

    Attributes:
        baseline: when it was last looked at.
        at_most: above this, something has become slower; None where less is worse.
        at_least: below this; None where more is worse.
    """

    baseline: float
    at_most: float | None = None
    at_least: float | None = None

    def allows(self, ratio: float) -> bool:
        """Whether a ratio is within the limit."""
        return (self.at_most is None or ratio <= self.at_most) and (self.at_least is None or ratio >= self.at_least)

    def __str__(self) -> str:
        return f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"


def read_limits(path: Path) -> dict[str, Limit]:
    """Read the limits by name of the ratio. Raises TypeError for a key that a limit does not have."""
    return {name: Limit(**values) for name, values in yaml.safe_load(path.read_text(encoding="utf-8")).items()}


def verdict(ratios: dict[str, float], limits: dict[str, Limit]) -> tuple[bool, list[str]]:
    """Return whether all limits are kept, and a line for each ratio. Raises KeyError for one without a limit."""
    lines, kept = [], True
    for name, ratio in ratios.items():
        limit = limits[name]
        kept &= limit.allows(ratio)
        outcome = "ok" if limit.allows(ratio) else "SLOWER"
        lines.append(f"{name:42} {ratio:6.2f}   baseline {limit.baseline:5.2f}, {limit}: {outcome}")
    return kept, lines


def main() -> int:
    """Measure and print."""
    began = time.monotonic()
    raw = RawPipeline(ROOT / "model-repo")
    speech = clip_speech(_CHUNKS * raw.chunk_samples)
    ratios = {}
    for joint, way in (("model", "server"), ("local", "server with a local joint")):
        with serve(ROOT / "model-repo", RepositorySettings(joint=joint)) as server:
            run_streams(server.grpc_endpoint, speech(8), raw.chunk_samples)  # warm-up
            for streams, name in ((32, "32 streams"), (1, "1 stream")):
                ratios[f"{way} / raw, {name}"] = _server_to_raw(server, raw, speech(streams))
    ratios["frame by frame / greedy, 32 streams"] = _search_ratio(raw, speech(32))
    kept, lines = verdict(ratios, read_limits(BASELINE))
    print("\n".join(lines))
    print(f"{'kept' if kept else 'BROKEN'}: ratios of processor time, measured in {time.monotonic() - began:.0f} s")
    return 0 if kept else 1


def _server_to_raw(server: TritonServer, raw: RawPipeline, waveforms: list[Float32]) -> float:
    of_raw, of_server = [], []
    for _ in range(_ROUNDS):
        of_raw.append(raw_round(raw, waveforms)[0])
        before = cpu_secs(server.pid)
        run_streams(server.grpc_endpoint, waveforms, raw.chunk_samples)
        of_server.append(cpu_secs(server.pid) - before)
    return min(of_server) / min(of_raw)


def _search_ratio(raw: RawPipeline, waveforms: list[Float32]) -> float:
    streams, size = [raw.open() for _ in waveforms], raw.chunk_samples
    with threadpool_limits(1):
        encoded = [
            raw.encode(streams, [audio[start : start + size] for audio in waveforms], end=False)
            for start in range(0, len(waveforms[0]), size)
        ]
        asked = {GREEDY: Search(str(ROOT / "model-repo" / "decoder"), {})}
        times = measure(raw.joint, encoded, asked, rounds=_ROUNDS, clock=time.process_time)
    found = {item.search: item.ms_per_chunk for item in times}
    return found[FRAME_BY_FRAME] / found[GREEDY]


if __name__ == "__main__":
    sys.exit(main())
