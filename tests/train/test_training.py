"""A tiny model through the whole recipe: from scratch, stopped, resumed, restored; and the fast subsampling."""

# ruff: noqa: E402 - imports follow the skips

import copy
import re
import shutil
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nemo.collections.asr")

from scripts.release.training_runs import read_runs
from scripts.train import __main__ as command
from scripts.train import trainer
from scripts.train.corpus import ShardWriter, read_index
from scripts.train.model import restore_model
from scripts.train.settings import load
from scripts.train.subsampling import FastSubsampling, accelerate_subsampling
from scripts.train.teacher_frames import SUFFIX, WIDTH, frames_in

TINY = [
    "model.encoder.n_layers=2",
    "model.encoder.d_model=16",
    "model.encoder.n_heads=2",
    "model.encoder.subsampling_conv_channels=8",
    "model.decoder.prednet.pred_hidden=16",
    "model.joint.jointnet.joint_hidden=16",
    "model.model_defaults.enc_hidden=16",
    "model.model_defaults.pred_hidden=16",
    "train.vocabulary=32",
    "train.data.batch_seconds=8",
    "train.optimizer.warmup_steps=1",
]
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "five",
    "wizards",
    "vex",
    "boxing",
    "quartz",
]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    random = np.random.default_rng(0)
    with ShardWriter(folder, "lj") as writer:
        for number in range(60):
            audio = (1000 * random.standard_normal(random.integers(12_000, 32_000))).astype(np.int16)
            text = " ".join(random.choice(WORDS, 4))
            writer.add(audio, text=text, speaker="s", source="lj", split="dev" if number < 4 else "train")
    return folder


def train(monkeypatch, packed, work, *options, overrides=()):
    arguments = ["train", "--packed", str(packed), "--work", str(work), *options, "--set", *TINY, *overrides]
    monkeypatch.setattr(sys, "argv", arguments)
    command.main()
    return (work / "log.txt").read_text()


def test_recipe_from_scratch_then_resumed(monkeypatch, packed, tmp_path):
    log = train(monkeypatch, packed, tmp_path, "--minutes", "0.05")
    assert re.search(r"dev WER %: mean [\d.]+  lj", log)
    first = torch.load(tmp_path / "state.pt")
    assert first["step"] > 0
    assert first["active_seconds"] >= 3

    train(monkeypatch, packed, tmp_path, "--minutes", "0.1")
    second = torch.load(tmp_path / "state.pt")
    assert len(read_runs(tmp_path / "runs.jsonl")) == 2
    assert second["step"] > first["step"]
    assert second["active_seconds"] >= 6
    assert second["average"]["steps"] == second["step"]

    _, config = load([command.Path("scripts/train/small.yaml")], TINY)
    last = restore_model(tmp_path / "last.nemo", config)
    average = [parameter.cpu() for parameter in second["average"]["mean"]]
    for parameter, mean in zip(last.parameters(), average, strict=True):
        torch.testing.assert_close(parameter.detach(), mean)
    assert last.tokenizer.ids_to_text(last.tokenizer.text_to_ids("quick fox")) == "quick fox"
    assert (tmp_path / "best.nemo").is_file()

    wider = [*TINY, "model.encoder.d_model=32"]
    with pytest.raises(ValueError, match=r"encoder\.d_model is 16, the configuration says 32"):
        restore_model(tmp_path / "best.nemo", load([command.Path("scripts/train/small.yaml")], wider)[1])

    check_fast_subsampling(last.encoder)


def check_fast_subsampling(encoder):
    """Same output and gradients as NeMo's layers, lengths included."""
    theirs, ours = encoder.pre_encode, copy.deepcopy(encoder.pre_encode)
    ours.conv.forward = FastSubsampling(ours.conv)
    torch.manual_seed(0)
    x, lengths = torch.randn(5, 131, 80), torch.tensor([131, 100, 64, 33, 8])
    results = []
    for module in (theirs, ours):
        module.zero_grad()
        out, out_lengths = module(x=x, lengths=lengths)
        (out * torch.arange(out.numel()).view_as(out).sin()).sum().backward()
        results.append((out, out_lengths, [parameter.grad for parameter in module.parameters()]))
    (their_out, their_lengths, their_grads), (our_out, our_lengths, our_grads) = results
    assert our_lengths.tolist() == their_lengths.tolist()
    torch.testing.assert_close(our_out, their_out, rtol=1e-4, atol=1e-4)
    for our_grad, their_grad in zip(our_grads, their_grads, strict=True):
        torch.testing.assert_close(our_grad, their_grad, rtol=1e-3, atol=1e-3 * their_grad.abs().max().item())


def test_distillation_needs_the_teacher(monkeypatch, packed, tmp_path):
    options = ["train.distillation.weight=[4,4]"]
    with pytest.raises(FileNotFoundError, match=r"run `python -m scripts\.train\.teacher`"):
        train(monkeypatch, packed, tmp_path / "without", "--minutes", "0.01", overrides=options)
    shutil.copytree(packed, tmp_path / "packed")
    frames = sum(frames_in(utterance.samples) for utterance in read_index(packed))
    random = np.random.default_rng(1)
    taught = random.standard_normal(WIDTH) + 0.1 * random.standard_normal((frames, WIDTH))
    (tmp_path / "packed" / f"lj-00{SUFFIX}").write_bytes(taught.astype(np.float16).tobytes())
    monkeypatch.setattr(trainer, "LOG_STEPS", 1)
    log = train(monkeypatch, tmp_path / "packed", tmp_path / "with", "--minutes", "0.02", overrides=options)
    errors = [float(error) for error in re.findall(r"imitation ([\d.]+)", log)]
    assert errors
    assert all(0 < error < 3 for error in errors)


def test_unknown_subsampling_is_refused():
    class Encoder(torch.nn.Module):
        pass

    encoder = Encoder()
    encoder.pre_encode = Encoder()
    encoder.pre_encode.conv = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 5), torch.nn.ReLU())
    with pytest.raises(ValueError, match="expected a causal 3x3 convolution of stride 2"):
        accelerate_subsampling(encoder)
