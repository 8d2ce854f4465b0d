"""Reference outputs of NeMo in tests/goldens: their form on disk. `make_goldens.py` writes them, tests read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Origin:
    """What made the goldens.

    Attributes:
        checkpoint: file name of the .nemo archive.
        checkpoint_sha256: of that file; `source.sha256` in model-repo/description.json must be the same.
        att_context: left and right attention context, encoder frames.
        nemo_version: of the NeMo that ran.
        torch_version: of the torch that ran.
    """

    checkpoint: str
    checkpoint_sha256: str
    att_context: tuple[int, int]
    nemo_version: str
    torch_version: str


@dataclass(frozen=True)
class Recording:
    """What NeMo makes of one recording.

    Attributes:
        path: file name in its folder.
        audio_sha256: `audio_checksum` of its samples.
        text: NeMo's offline transcript.
        tokens: offline greedy token ids.
        token_frames: encoder frame of each.
        streaming_tokens: token ids of NeMo's `conformer_stream_step`.
    """

    path: str
    audio_sha256: str
    text: str
    tokens: list[int]
    token_frames: list[int]
    streaming_tokens: list[int]


@dataclass(frozen=True)
class Tensors:
    """Intermediate results for one recording.

    Attributes:
        path: file name of the recording.
        features: log-mel of NeMo, [n_mels, frames] float32.
        encoded: output of NeMo's offline encoder, [encoder frames, encoder_dim] float32.
    """

    path: str
    features: Float32
    encoded: Float32


@dataclass(frozen=True)
class Goldens:
    """All goldens.

    Attributes:
        origin: what made them.
        clips: recordings bundled in tests/data/audio, by path.
        speech: recordings of a folder outside the repository, by path; may be empty.
        tensors: for the shortest clip.
    """

    origin: Origin
    clips: Mapping[str, Recording]
    speech: Mapping[str, Recording]
    tensors: Tensors

    def save(self, folder: Path) -> None:
        """Write origin.json, clips.jsonl, speech.jsonl and tensors.npz."""
        folder.mkdir(parents=True, exist_ok=True)
        origin = json.dumps(asdict(self.origin), indent=2)
        (folder / "origin.json").write_text(origin + "\n", encoding="utf-8")
        _save_recordings(folder / "clips.jsonl", self.clips)
        _save_recordings(folder / "speech.jsonl", self.speech)
        np.savez_compressed(
            folder / "tensors.npz",
            path=np.array(self.tensors.path),
            features=self.tensors.features,
            encoded=self.tensors.encoded,
        )

    @classmethod
    def load(cls, folder: Path) -> Goldens:
        """Read what `save` wrote. Raises FileNotFoundError when a file is missing."""
        origin = json.loads((folder / "origin.json").read_text(encoding="utf-8"))
        with np.load(folder / "tensors.npz") as arrays:
            tensors = Tensors(str(arrays["path"]), arrays["features"], arrays["encoded"])
        return cls(
            origin=Origin(**{**origin, "att_context": tuple(origin["att_context"])}),
            clips=_load_recordings(folder / "clips.jsonl"),
            speech=_load_recordings(folder / "speech.jsonl"),
            tensors=tensors,
        )


def audio_checksum(audio: Float32) -> str:
    """Return the SHA-256 of [samples] in [-1, 1] as little-endian 16-bit integers: the file format does not matter."""
    return hashlib.sha256(np.round(audio * 32768).astype("<i2").tobytes()).hexdigest()


def _save_recordings(path: Path, recordings: Mapping[str, Recording]) -> None:
    lines = [json.dumps(asdict(recording), ensure_ascii=False) + "\n" for recording in recordings.values()]
    path.write_text("".join(lines), encoding="utf-8")


def _load_recordings(path: Path) -> dict[str, Recording]:
    recordings = [Recording(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return {recording.path: recording for recording in recordings}
