"""The loop that label-looping is measured against finds the same tokens."""

from __future__ import annotations

import pytest

from loadtest.frame_by_frame import FrameByFrame
from tests.backends.transducers import SHAPE, RandomJoint, decode, new_decoder, new_stream, random_frames


@pytest.mark.parametrize("streams", [1, 3, 12])
@pytest.mark.parametrize(("seed", "blankness"), [(0, -1.0), (1, 0.0), (2, 1.0), (3, 3.0)])
def test_frame_by_frame_equals_label_looping(seed, blankness, streams):
    joint = RandomJoint(seed, blankness)
    pieces = [
        [random_frames(100 * seed + 10 * stream + chunk, 3 + stream) for chunk in range(4)] for stream in range(streams)
    ]
    plain = FrameByFrame(SHAPE, 3, streams)
    for chunk in range(4):
        plain.decode([row[chunk] for row in pieces], joint)
    plain_calls, joint.calls = joint.calls, 0
    segments = decode(new_decoder(window=7), joint, [new_stream() for _ in pieces], pieces)
    assert [stream[0].tokens.ids for stream in segments] == plain.tokens
    assert joint.calls <= plain_calls
