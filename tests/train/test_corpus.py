"""Packing and reading back."""

# ruff: noqa: E402 - imports follow the skips

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("num2words")

from scripts.train import corpus
from scripts.train.corpus import Corpus, ShardWriter, read_index
from scripts.train.evaluation_text import EvaluationText
from scripts.train.pack import Packer, pack_recordings, pack_synthetic


def samples(count, value):
    return np.full(count, value, np.int16)


def test_shards_roll_over_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "SHARD_SAMPLES", 100)
    with ShardWriter(tmp_path, "so762") as writer:
        for value in range(5):
            writer.add(samples(40, 100 * value), text=f"w{value}", speaker="s", source="so762", split="train")
    assert sorted(path.name for path in tmp_path.glob("*.i16")) == ["so762-00.i16", "so762-01.i16", "so762-02.i16"]
    packed = Corpus(tmp_path, "train")
    assert [utterance.text for utterance in packed.utterances] == ["w0", "w1", "w2", "w3", "w4"]
    for value in range(5):
        np.testing.assert_array_equal(packed.audio(value), np.full(40, 100 * value / 32768, np.float32))


def test_missing_split_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"scripts\.train\.pack"):
        Corpus(tmp_path, "train")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("please hold the line", True),
        ("and please hold the line now", True),
        ("please hold the lines", False),
        ("goodbye", True),
        ("he said goodbye", False),
    ],
)
def test_evaluation_overlap(tmp_path, text, expected):
    path = tmp_path / "eval.tsv"
    path.write_text('path\ttext\na.wav\tPLEASE HOLD, THE LINE\nb.wav\t"Goodbye\n')
    assert EvaluationText.read(path).overlaps(text) is expected


@pytest.fixture
def speech(tmp_path):
    """A speech folder in miniature: two recorded speakers more than dev takes, and three engines."""
    train, tts = tmp_path / "train", tmp_path / "tts"
    train.mkdir()
    tts.mkdir()
    rows = ["path\ttext\tspeaker\tsource\tlicence\tseconds"]
    for speaker in range(6):
        soundfile.write(train / f"{speaker}.wav", samples(16_000, speaker + 1), 16_000, subtype="PCM_16")
        rows.append(f"{speaker}.wav\tSENTENCE {speaker}\tso{speaker}\tspeechocean762-train\tx\t1")
    rows.append("0.wav\tTHE EVALUATION SENTENCE ITSELF\tso0\tspeechocean762-train\tx\t1")
    (train / "train.tsv").write_text("\n".join(rows) + "\n")
    soundfile.write(tts / "all.wav", np.repeat(np.arange(1, 4, dtype=np.int16), 16_000), 16_000, subtype="PCM_16")
    (tts / "index.tsv").write_text(
        "file\tstart_sample\tsamples\tengine\tvoice\ttext\n"
        "all.wav\t0\t16000\tkokoro\tv\tspoken once\n"
        "all.wav\t16000\t16000\tkokhold\tw\theld out\n"
        "all.wav\t32000\t16000\tespeak\tx\trobotic\n"
    )
    return tmp_path


def test_pack(speech, tmp_path):
    out = tmp_path / "packed"
    out.mkdir()
    packer = Packer(out, EvaluationText(frozenset({"the evaluation sentence itself"})))
    pack_recordings(speech / "train", packer)
    pack_synthetic(speech / "tts", packer)
    packer.close()
    found = {(utterance.text, utterance.split) for utterance in read_index(out)}
    assert found == {
        ("sentence zero", "train"),
        ("sentence one", "train"),
        ("sentence two", "dev"),
        ("sentence three", "dev"),
        ("sentence four", "dev"),
        ("sentence five", "dev"),
        ("spoken once", "train"),
        ("held out", "dev"),
    }
    assert packer.dropped == {"evaluation sentence": 1}
    dev = Corpus(out, "dev")
    held = next(i for i, utterance in enumerate(dev.utterances) if utterance.source == "kokhold")
    assert (dev.audio(held) == np.float32(2 / 32768)).all()


def test_pack_refuses_an_unknown_source(speech, tmp_path):
    table = speech / "train" / "train.tsv"
    table.write_text(table.read_text().replace("speechocean762-train", "mystery"))
    with pytest.raises(ValueError, match="unknown source 'mystery'"):
        pack_recordings(speech / "train", Packer(tmp_path, EvaluationText(frozenset({"x"}))))
