"""A NeMo transducer and the decoder exported from it, side by side on the same encoder frames."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from nemo.collections.asr.models import ASRModel

from loadtest.raw_pipeline import read_config
from rnnt_decoder.decoder import Decoder
from rnnt_decoder.joint import Float32
from rnnt_decoder.joint_graphs import JointGraphs
from rnnt_decoder.local_joint import local_joint
from rnnt_decoder.options import Parameters
from rnnt_decoder.stream import Stream
from rnnt_decoder.tokens import Alternative
from scripts.export.description import ModelDescription
from scripts.export.exporter import export_model
from scripts.export.layout import Layout
from scripts.export.reading import load_checkpoint, select_att_context
from scripts.export.serving_options import ServingOptions
from scripts.goldens import Goldens
from scripts.make_goldens import NemoReference
from tests.backends.transducers import decode
from tests.export.tiny_models import TinyModel

ROOT = Path(__file__).resolve().parents[2]

TINY = {
    "two-layer prediction network, 128 mels": TinyModel(n_mels=128, prediction_layers=2),
    "wide prediction network": TinyModel(prediction_hidden=40),
    "TDT": TinyModel(durations=(0, 1, 2, 3, 4)),
}
PLAIN = ["shipped", "two-layer prediction network, 128 mels", "wide prediction network"]


@dataclass(frozen=True)
class Pair:
    """NeMo's model, what was exported from it, and what both decode.

    Attributes:
        model: NeMo's.
        decoder: ours, configured from the exported repository.
        joint: the exported graph.
        utterances: encoder frames, [frames, encoder_dim] each.
    """

    model: ASRModel
    decoder: Decoder
    joint: JointGraphs
    utterances: tuple[Float32, ...]

    @property
    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The utterances as NeMo takes them: [batch, encoder_dim, frames] and their lengths."""
        frames = [torch.from_numpy(utterance) for utterance in self.utterances]
        lengths = torch.tensor([len(utterance) for utterance in frames])
        return torch.nn.utils.rnn.pad_sequence(frames, batch_first=True).transpose(1, 2), lengths

    def decode(self, parameters: Parameters, seed: int | None = None) -> list[tuple[Alternative, ...]]:
        """Decode all utterances together, whole or (with a seed) in random chunks; return what was found of each."""
        streams = [self._stream(parameters) for _ in self.utterances]
        pieces = [[utterance] if seed is None else _cut(utterance, seed) for utterance in self.utterances]
        return [segment.alternatives for (segment,) in decode(self.decoder, self.joint, streams, pieces)]

    def _stream(self, parameters: Parameters) -> Stream:
        stream = self.decoder.new_stream()
        self.decoder.prepare(stream, parameters, start=True)
        return stream


@functools.cache
def pair(name: str) -> Pair:
    """Return the shipped model on the bundled clips, or a tiny one with random weights on random frames."""
    if name == "shipped":
        return _shipped()
    with tempfile.TemporaryDirectory() as folder:
        model, checkpoint = TINY[name].save(Path(folder))
        random = np.random.default_rng(0)
        shape = model.joint.enc.in_features
        utterances = [random.standard_normal((frames, shape), np.float32) for frames in (1, 60, 37, 80)]
        randomise(model, utterances[-1])
        export_model(model, checkpoint, Layout(Path(folder) / "model-repo"), ServingOptions())
        return _pair(model, Path(folder) / "model-repo", utterances)


def _shipped() -> Pair:
    repository = ROOT / "model-repo"
    streaming = ModelDescription.load(repository / "description.json").streaming
    model = load_checkpoint(ROOT / "scripts" / "train" / "default.nemo")
    select_att_context(model, streaming.att_context)
    nemo = NemoReference(model, streaming)
    clips = Goldens.load(ROOT / "tests" / "goldens").clips
    audio = [soundfile.read(ROOT / "tests" / "data" / "audio" / path, dtype="float32")[0] for path in clips]
    return _pair(model, repository, [nemo.encode(nemo.features(samples))[0].T.numpy() for samples in audio])


def _pair(model: ASRModel, repository: Path, utterances: Sequence[Float32]) -> Pair:
    decoder = Decoder.configured(read_config(repository / "decoder"), repository / "decoder" / "1")
    joint = local_joint(repository / "decoder_joint" / "1" / "model.onnx")
    return Pair(model, decoder, joint, tuple(utterances))


@torch.no_grad()
def randomise(model: ASRModel, encoded: Float32) -> None:
    """Give prediction network and joint weights with which labels follow the labels before and the frames.

    The blank gets a bias with which it wins in three of four frames of `encoded`, [frames, encoder_dim].
    """
    decoder, joint, output = model.decoder, model.joint, model.joint.joint_net[-1]
    blank = decoder.blank_idx
    decoder.prediction["embed"].weight[:blank].normal_()
    for parameter in decoder.prediction["dec_rnn"].parameters():
        parameter.normal_(std=0.8)
    joint.pred.weight.normal_(std=0.8)
    joint.enc.weight.normal_(std=0.3)
    output.weight.normal_(std=0.5)
    output.bias.normal_(std=0.5)
    output.bias[:3] -= 20  # <unk>, <s> and </s>, which no text has
    labels = torch.arange(blank + 1)
    prediction = decoder.predict(labels[:, None], None, add_sos=False)[0]
    frames = torch.from_numpy(encoded).expand(len(labels), -1, -1)
    logits = joint.joint(frames, prediction)[:, :, 0, : len(labels)]
    margin = logits[..., :blank].amax(dim=-1) - logits[..., blank]
    output.bias[blank] += margin.quantile(0.75)


def _cut(utterance: Float32, seed: int) -> list[Float32]:
    """Cut into chunks of 0 to 9 frames."""
    random = np.random.default_rng(seed)
    ends = np.cumsum(random.integers(0, 10, len(utterance) + 2))
    return np.split(utterance, ends[ends <= len(utterance)])
