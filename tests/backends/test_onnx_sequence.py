"""Cache slots and the grouping of requests."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_sequence.caches import CacheSlots, StateTensor, parse_states
from onnx_sequence.session import group_by_shape, split, spread, stack
from rnnt_decoder.vocabulary import Vocabulary

STATES = [StateTensor("cache", "cache_next", np.float32, (2,)), StateTensor("len", "len_next", np.int64, (1,))]


def state_entry(**changes):
    entry = {
        "input_name": "cache",
        "output_name": "cache_next",
        "data_type": "TYPE_FP32",
        "dims": ["2", "3"],
        "initial_state": [{"name": "zero", "zero_data": True}],
    }
    return {"sequence_batching": {"state": [entry | changes]}}


def test_slots_keep_values_apart_and_grow():
    slots = CacheSlots(STATES)
    taken = [slots.acquire() for _ in range(40)]
    assert len(set(taken)) == 40
    values = np.arange(80, dtype=np.float32).reshape(40, 2)
    slots.scatter(taken, {"cache_next": values, "len_next": np.arange(40)[:, None]})
    np.testing.assert_array_equal(slots.gather(taken[::-1])["cache"], values[::-1])
    np.testing.assert_array_equal(slots.gather([taken[7]])["len"], [[7]])


def test_a_reused_slot_is_zero():
    slots = CacheSlots(STATES)
    slot = slots.acquire()
    slots.scatter([slot], {"cache_next": np.ones((1, 2), np.float32), "len_next": np.ones((1, 1), np.int64)})
    slots.release(slot)
    assert slots.acquire() == slot
    assert not slots.gather([slot])["cache"].any()


def test_state_section_is_read():
    assert parse_states(state_entry()) == [StateTensor("cache", "cache_next", np.float32, (2, 3))]
    assert parse_states({}) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": ["-1", "3"]}, "must be fixed"),
        ({"data_type": "TYPE_STRING"}, "TYPE_STRING"),
        ({"initial_state": []}, "zero_data"),
    ],
)
def test_unservable_states_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        parse_states(state_entry(**changes))


def test_requests_group_by_shape_and_come_back_in_order():
    requests = [{"x": np.full((rows, size), index)} for index, (rows, size) in enumerate([(1, 2), (1, 3), (2, 2)])]
    assert group_by_shape(requests) == [[0, 2], [1]]
    parts = split(stack([requests[0], requests[2]]), [1, 2])
    np.testing.assert_array_equal(parts[0]["x"], requests[0]["x"])
    np.testing.assert_array_equal(parts[1]["x"], requests[2]["x"])


@pytest.mark.parametrize(
    ("members", "parts"), [(1, [1]), (7, [7]), (8, [4, 4]), (11, [5, 6]), (12, [4, 4, 4]), (32, [10, 11, 11])]
)
def test_a_batch_is_spread_over_the_cores_as_far_as_that_is_worth_it(members, parts):
    spread_out = spread(list(range(members)), runs=3, least=4)
    assert [len(part) for part in spread_out] == parts
    assert [member for part in spread_out for member in part] == list(range(members))


def test_vocabulary_joins_pieces(tmp_path):
    path = tmp_path / "vocabulary.txt"
    path.write_text("▁the\nre\n▁\ns\n'", encoding="utf-8")
    vocabulary = Vocabulary.load(path, expected_size=5)
    assert vocabulary.decode([0, 1, 4, 3, 2, 1]) == "there's re"
    with pytest.raises(ValueError, match="5 pieces; the model has 6"):
        Vocabulary.load(path, expected_size=6)
