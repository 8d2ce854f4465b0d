"""Token-and-duration transducers (TDT) against NeMo's label-looping, offline and in random chunks. Needs NeMo."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nemo.collections.asr", reason="NeMo lives in its own environment: make test-nemo")

import torch

from scripts.export.description import ModelDescription
from scripts.export.reading import describe
from scripts.export.verify import join
from tests.export.pairs import pair
from tests.export.tiny_models import TinyModel


@pytest.mark.parametrize("seed", [None, 1, 2, 3], ids=str)
def test_greedy_equals_nemo(seed: int | None) -> None:
    both = pair("TDT")
    encoded, lengths = both.batch
    with torch.no_grad():
        expected = both.model.decoding.rnnt_decoder_predictions_tensor(encoded, lengths, return_hypotheses=True)
    found = [alternatives[0].tokens for alternatives in both.decode({}, seed)]
    assert [tokens.ids for tokens in found] == [one.y_sequence.tolist() for one in expected]
    assert [tokens.frames for tokens in found] == [one.timestamp.tolist() for one in expected]


def test_the_utterances_have_steps_of_every_kind() -> None:
    """Labels on one frame up to the limit, next frames, and hops over frames."""
    both = pair("TDT")
    found = [alternatives[0].tokens.frames for alternatives in both.decode({})]
    assert {0, 1, 2, 4} <= {step for frames in found for step in np.diff(frames).tolist()}
    assert max(Counter(frames).most_common(1)[0][1] for frames in found if frames) == (
        both.decoder.greedy.max_symbols_per_step
    )


def test_durations_of_the_graph_equal_nemo() -> None:
    both = pair("TDT")
    shape, encoded = both.decoder.shape, both.utterances[-1]
    random = np.random.default_rng(0)
    seen: set[int] = set()
    for target in range(shape.blank_id + 1):
        state_h, state_c = random.standard_normal((2, shape.layers, shape.hidden), np.float32)
        output = both.joint.best(encoded[None], np.array([[target]], np.int32), state_h[None], state_c[None])
        log_probs, durations, *_ = join(both.model, encoded, target, state_h, state_c)
        assert output.durations is not None
        np.testing.assert_array_equal(output.durations[0], durations)
        np.testing.assert_array_equal(output.labels[0], log_probs.argmax(axis=-1))
        seen.update(durations.tolist())
    assert seen == {0, 1, 2, 3, 4}


def test_durations_are_read_from_the_checkpoint(tmp_path: Path) -> None:
    model, checkpoint = TinyModel(durations=(0, 2, 4)).save(tmp_path)
    description = describe(model, checkpoint)
    assert description.transducer.durations == (0, 2, 4)
    assert description.transducer.vocabulary_size == description.transducer.blank_id == 40
    description.save(tmp_path / "description.json")
    assert ModelDescription.load(tmp_path / "description.json") == description


def test_a_beam_is_refused() -> None:
    decoder = pair("TDT").decoder
    with pytest.raises(ValueError, match="beam_size is 4; allowed: whole numbers 1 to 1"):
        decoder.prepare(decoder.new_stream(), {"beam_size": 4}, start=True)
