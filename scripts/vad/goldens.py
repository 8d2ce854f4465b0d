"""What Silero's own package answers, for the tests: `python -m scripts.vad.goldens WHEEL`.

Writes tests/goldens/vad.json. Runs where torch is (the NeMo environment). It asks the TorchScript model of the package,
not the ONNX graph that the server runs, and takes its own `get_speech_timestamps`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scripts.vad.install import ROOT, VERSION

Float32 = npt.NDArray[np.float32]

GOLDENS = ROOT / "tests" / "goldens" / "vad.json"
_CLIPS = ROOT / "tests" / "data" / "audio"
_PAUSE_SECS = (0.05, 0.4, 1.0)
OPTIONS: tuple[dict[str, float], ...] = (
    {},
    {"threshold": 0.8},
    {"min_silence_ms": 500},
    {"min_silence_ms": 30, "pad_ms": 0},
    {"min_silence_ms": 30, "min_speech_ms": 800},
    {"min_silence_ms": 50, "pad_ms": 300},
)


def recording(read: Callable[[Path], Float32]) -> Float32:
    """Return the bundled clips with pauses of three lengths, [samples] at 16 kHz; `read` reads a file."""
    parts = [np.zeros(0, np.float32)]
    for path, pause in zip(sorted(_CLIPS.glob("*.flac")), _PAUSE_SECS, strict=True):
        parts += [read(path), np.zeros(int(pause * 16000), np.float32)]
    return np.concatenate(parts)


def compute(package: Path) -> dict[str, Any]:
    """Ask the unpacked package about `recording`."""
    # The package reads files with torchaudio, which is not needed here.
    sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))
    sys.path.insert(0, str(package))
    soundfile, torch = importlib.import_module("soundfile"), importlib.import_module("torch")
    silero = importlib.import_module("silero_vad.utils_vad")
    torch.set_num_threads(1)
    model = torch.jit.load(str(package / "silero_vad" / "data" / "silero_vad.jit"))
    audio = torch.from_numpy(recording(lambda path: soundfile.read(path, dtype="float32")[0]))
    with torch.no_grad():
        probabilities = model.audio_forward(audio[None], 16000)[0].tolist()
    segments = [{"options": options, "segments": _segments(silero, model, audio, options)} for options in OPTIONS]
    return {"silero_vad": VERSION, "probabilities": probabilities, "segments": segments}


def _segments(silero: Any, model: Any, audio: Any, options: dict[str, float]) -> list[tuple[int, int]]:
    names = {
        "threshold": "threshold",
        "min_silence_ms": "min_silence_duration_ms",
        "min_speech_ms": "min_speech_duration_ms",
        "pad_ms": "speech_pad_ms",
    }
    found = silero.get_speech_timestamps(audio, model, **{names[key]: value for key, value in options.items()})
    return [(item["start"], item["end"]) for item in found]


def main() -> None:
    """Compute and write."""
    parser = argparse.ArgumentParser(prog="python -m scripts.vad.goldens", description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help=f"silero_vad-{VERSION}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(arguments.wheel) as archive:
            archive.extractall(folder)
        goldens = compute(Path(folder))
    GOLDENS.write_text(json.dumps(goldens) + "\n", encoding="utf-8")
    print(f"{len(goldens['probabilities'])} windows -> {GOLDENS}")


if __name__ == "__main__":
    main()
