# ruff: noqa: E402 - imports follow the skips
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soxr")

from scripts.train.corpus import Corpus, ShardWriter
from scripts.train.distillation import Imitation, stretch
from scripts.train.teacher_frames import FRAME_SAMPLES, SUFFIX, WIDTH, TeacherFrames, frames_in


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Six utterances; each frame of the teacher says of which utterance and at which place it is."""
    folder = tmp_path_factory.mktemp("packed")
    taught = []
    with ShardWriter(folder, "lj") as writer:
        for number in range(6):
            samples = 8000 + 1111 * number
            audio = np.zeros(samples, np.int16)
            writer.add(audio, text="a", speaker="s", source="lj", split="dev" if number % 3 == 1 else "train")
            frames = np.zeros((frames_in(samples), WIDTH))
            frames[:, 0], frames[:, 1] = number, np.arange(len(frames))
            taught.append(frames)
    (folder / f"lj-00{SUFFIX}").write_bytes(np.concatenate(taught).astype(np.float16).tobytes())
    return folder


def test_each_utterance_finds_its_own_frames(packed):
    teacher = TeacherFrames(packed)
    for split, numbers in (("train", [0, 2, 3, 5]), ("dev", [1, 4])):
        for number, utterance in zip(numbers, Corpus(packed, split).utterances, strict=True):
            frames = teacher(utterance)
            assert len(frames) == frames_in(utterance.samples)
            assert set(frames[:, 0].tolist()) == {number}
            assert frames[:, 1].tolist() == list(range(len(frames)))


def test_shard_without_teacher_is_named(packed, tmp_path):
    for path in packed.glob("*.jsonl"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(FileNotFoundError, match=r"lj-00\.teacher\.f16: run"):
        TeacherFrames(tmp_path)


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.25])
def test_stretched_frames_keep_their_place_in_time(ratio):
    samples = 40 * FRAME_SAMPLES
    ramp = np.repeat((np.arange(40) / 40).astype(np.float16)[:, None], WIDTH, axis=1)
    stretched = stretch(ramp, samples, round(samples * ratio))
    assert stretched.shape == (frames_in(round(samples * ratio)), WIDTH)
    centres = (np.arange(len(stretched)) + 0.5) / ratio - 0.5
    np.testing.assert_allclose(stretched[:, 0], centres.clip(0, 39) / 40, atol=1e-3)


def test_imitation_compares_frames_at_their_offsets_and_no_padding(packed):
    torch.manual_seed(0)
    imitation = Imitation(4, TeacherFrames(packed))
    imitation._mean.zero_()
    imitation._deviation.fill_(1)
    imitation.guess = torch.nn.Linear(4, 2 * WIDTH)
    torch.nn.init.zeros_(imitation.guess.weight)
    torch.nn.init.zeros_(imitation.guess.bias)
    encoded = torch.zeros(2, 5, 4)
    taught = torch.zeros(2, 10, WIDTH)
    lengths, taught_lengths = torch.tensor([5, 3]), torch.tensor([10, 6])
    assert imitation(encoded, lengths, taught, taught_lengths) == 0
    taught[1, 6:] = 7  # padding of the second
    assert imitation(encoded, lengths, taught, taught_lengths) == 0
    taught[0, 3] = 2  # second half of what encoder frame 2 ends in: offset -1 of frame 2
    expected = 4 * WIDTH / (2 * WIDTH) / 8
    assert imitation(encoded, lengths, taught, taught_lengths).item() == pytest.approx(expected)
    imitation.guess.bias.data[:WIDTH] = 2
    wrong = imitation(encoded, lengths, taught, taught_lengths).item()
    imitation.guess.bias.data[:WIDTH] = 0
    imitation.guess.bias.data[WIDTH:] = 2
    assert wrong < imitation(encoded, lengths, taught, taught_lengths).item()


def test_imitation_tolerates_a_frame_more_or_less(packed):
    imitation = Imitation(4, TeacherFrames(packed))
    for frames in (7, 8, 9, 10, 11, 12):
        error = imitation(
            torch.zeros(1, 5, 4), torch.tensor([5]), torch.zeros(1, frames, WIDTH), torch.tensor([frames])
        )
        assert torch.isfinite(error)
