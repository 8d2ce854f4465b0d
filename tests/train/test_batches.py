# ruff: noqa: E402 - imports follow the skips
from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soxr")

from scripts.train.batches import draw_epoch, pad
from scripts.train.corpus import Utterance
from scripts.train.targets import CHARACTERS, Targets


def utterances(count, source="a"):
    random = np.random.default_rng(0)
    lengths = random.integers(16_000, 160_000, count)
    return [Utterance("s", 0, int(samples), "t", "v", source, "train") for samples in lengths]


def test_epoch_respects_mix_and_batch_size():
    corpus = utterances(400, "a") + utterances(400, "b") + utterances(400, "c")
    mix = {"a": 2.0, "b": 0.5, "c": 0.0}
    batches = list(draw_epoch(corpus, mix, 60.0, np.random.default_rng(1)))
    times = Counter(index for batch in batches for index in batch)
    assert all(times[index] == 2 for index in range(400))
    assert 140 < sum(times[index] for index in range(400, 800)) < 260
    assert not any(times[index] for index in range(800, 1200))
    for batch in batches:
        longest = max(corpus[index].seconds for index in batch)
        assert len(batch) * longest <= 60.0 + 0.5 * len(batch)
        assert longest - min(corpus[index].seconds for index in batch) < 1.5  # little padding


def test_one_utterance_longer_than_a_batch_is_its_own_batch():
    corpus = [Utterance("s", 0, 16_000 * 30, "t", "v", "a", "train")] * 2
    assert [len(batch) for batch in draw_epoch(corpus, {"a": 1}, 10.0, np.random.default_rng(0))] == [1, 1]


def test_source_without_weight_is_refused():
    with pytest.raises(ValueError, match="mix has no weight for b"):
        list(draw_epoch(utterances(2, "b"), {"a": 1.0}, 60.0, np.random.default_rng(0)))


def test_pad():
    stacked, lengths = pad([[1, 2, 3], [], [4]], torch.int64)
    assert stacked.tolist() == [[1, 2, 3], [0, 0, 0], [4, 0, 0]]
    assert lengths.tolist() == [3, 0, 1]


def test_character_labels_leave_zero_to_blank():
    class Pieces:
        def text_to_ids(self, text):
            return [len(text)]

    targets = Targets(Pieces())
    assert targets.characters(CHARACTERS) == list(range(1, len(CHARACTERS) + 1))
    assert targets.pieces("abc") == [3]
    with pytest.raises(KeyError):
        targets.characters("UPPER")
