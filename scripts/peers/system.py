"""What is asked of every recogniser that is compared, and how its rounds become one row."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from log_mel.mel import Float32


@dataclass(frozen=True)
class Run:
    """One way through all recordings.

    Attributes:
        cpu_secs: processor time of the recogniser with all its processes, without the client.
        wall_secs: from the first sample sent to the last answer.
        latencies_ms: of every chunk, from sending to its answer.
        texts: transcript of every recording.
    """

    cpu_secs: float
    wall_secs: float
    latencies_ms: Sequence[float]
    texts: Sequence[str]


class System(Protocol):
    """A recogniser that runs while its context lasts."""

    @property
    def name(self) -> str:
        """How it is called in the table."""

    def full_speed(self, waveforms: Sequence[Float32]) -> Run:
        """Stream all recordings at once; each sends a chunk as soon as the one before is answered."""

    def paced(self, waveforms: Sequence[Float32]) -> Run | None:
        """Stream all recordings at once, at the pace of speech; None where there is no server to wait for."""

    def whole(self, waveforms: Sequence[Float32]) -> Run:
        """Recognise whole recordings as fast as it goes."""


@dataclass(frozen=True)
class Row:
    """Medians over the rounds of one recogniser.

    Attributes:
        system: its name.
        streams: recordings streamed at once.
        streams_at_real_time: audio over wall time at full speed; the client takes part of the processor.
        cpu_per_audio_sec: processor seconds of the recogniser for a second of audio, at full speed.
        full_speed_ms: 50th, 95th and 99th percentile of chunk latency at full speed.
        paced_ms: the same at the pace of speech; None without a server.
        paced_cpu_per_audio_sec: processor seconds for a second of audio at the pace of speech.
        whole_x_real_time: audio over wall time for whole recordings.
        same_texts: transcripts that equal our server's with these weights, of `streams`.
    """

    system: str
    streams: int
    streams_at_real_time: float
    cpu_per_audio_sec: float
    full_speed_ms: tuple[float, float, float]
    paced_ms: tuple[float, float, float] | None
    paced_cpu_per_audio_sec: float | None
    whole_x_real_time: float
    same_texts: int


def in_turn(
    systems: Sequence[System], waveforms: Sequence[Float32], rounds: int, say: Callable[[str], None]
) -> list[Row]:
    """Measure recognisers of the same weights in turn.

    Args:
        systems: ours first; its transcripts are what the others are compared with.
        waveforms: [samples] at 16 kHz each, one a stream.
        rounds: how often, after one that does not count.
        say: is told of each round.
    """
    full: list[list[Run]] = [[] for _ in systems]
    paced: list[list[Run]] = [[] for _ in systems]
    whole: list[list[Run]] = [[] for _ in systems]
    for system in systems:
        system.full_speed(waveforms)
    for number in range(1, rounds + 1):
        for index, system in enumerate(systems):
            full[index].append(system.full_speed(waveforms))
            if (run := system.paced(waveforms)) is not None:
                paced[index].append(run)
            whole[index].append(system.whole(waveforms))
            say(f"round {number} of {rounds}, {system.name}: {full[index][-1].wall_secs:.1f} s at full speed")
    audio_secs = sum(map(len, waveforms)) / 16000
    expected = full[0][-1].texts
    return [
        Row(
            system=system.name,
            streams=len(waveforms),
            streams_at_real_time=audio_secs / statistics.median(run.wall_secs for run in full[index]),
            cpu_per_audio_sec=statistics.median(run.cpu_secs for run in full[index]) / audio_secs,
            full_speed_ms=_percentiles(full[index]),
            paced_ms=_percentiles(paced[index]) if paced[index] else None,
            paced_cpu_per_audio_sec=(
                statistics.median(run.cpu_secs for run in paced[index]) / audio_secs if paced[index] else None
            ),
            whole_x_real_time=audio_secs / statistics.median(run.wall_secs for run in whole[index]),
            same_texts=sum(ours == text for ours, text in zip(expected, full[index][-1].texts, strict=True)),
        )
        for index, system in enumerate(systems)
    ]


def as_figures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as JSON has them."""
    return [asdict(row) for row in rows]


def _percentiles(runs: Sequence[Run]) -> tuple[float, float, float]:
    """Return medians over the runs of the 50th, 95th and 99th percentile."""
    shares = np.median([np.percentile(run.latencies_ms, [50, 95, 99]) for run in runs], axis=0)
    return float(shares[0]), float(shares[1]), float(shares[2])
