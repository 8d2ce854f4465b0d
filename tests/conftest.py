"""What every test may use: paths, bundled recordings, the real server."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from amira_asr.audio import load_audio
from scripts.serving.ports import free_ports
from scripts.serving.server import TritonServer
from scripts.serving.server_options import ServerOptions
from scripts.serving.staging import RepositorySettings, stage_repository
from scripts.serving.tracing import Tracing

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT / "tests" / "data" / "audio"


def start_server(folder: Path, settings: RepositorySettings, tracing: Tracing | None = None) -> TritonServer:
    """Stage the shipped model repository and return a server for it on free ports, not started."""
    stage_repository(ROOT / "model-repo", folder / "model-repo", settings)
    return TritonServer(ServerOptions(folder / "model-repo", folder, tracing=tracing or Tracing()))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """The server of the whole test session, with default settings."""
    # Only requests with `traceparent` are traced; a test of that starts the collector.
    collector = Tracing(f"http://127.0.0.1:{free_ports(1, '127.0.0.1')[0]}/v1/traces")
    with start_server(tmp_path_factory.mktemp("triton"), RepositorySettings(), collector) as running:
        yield running


@dataclass(frozen=True)
class Clip:
    """A bundled recording.

    Attributes:
        name: file stem.
        audio: [samples] float32, 16 kHz.
        text: what is said, upper case as in the source.
    """

    name: str
    audio: npt.NDArray[np.float32]
    text: str


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    """The recordings that come with the project."""
    with (CLIPS / "clips.tsv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    return [Clip(Path(row["path"]).stem, load_audio(CLIPS / row["path"]), row["text"]) for row in rows]


@pytest.fixture(scope="session")
def speech(clips: list[Clip]) -> npt.NDArray[np.float32]:
    """One recording of real speech, [samples] float32."""
    return clips[0].audio
