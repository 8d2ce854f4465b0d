"""Geometry of the encoder windows, and the description's way to disk and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from scripts.export.description import ModelDescription, StreamingGeometry
from scripts.export.windows import cut

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shipped() -> ModelDescription:
    return ModelDescription.load(ROOT / "model-repo" / "description.json")


def geometry(right_context: int, *, subsampling: int = 8) -> StreamingGeometry:
    """What NeMo's streaming_cfg says for a causal subsampling: `setup_streaming_params`."""
    return StreamingGeometry.of_chunks(
        att_context=(70, right_context),
        subsampling=subsampling,
        chunk_frames=subsampling * (right_context + 1),
        first_chunk_frames=1 + subsampling * right_context,
        pre_encode_cache_frames=subsampling + 1,
        drop_extra_pre_encoded=2,
        hop_samples=160,
    )


def test_numbers_of_the_default_context() -> None:
    numbers = geometry(6)
    assert (numbers.window_frames, numbers.final_window_frames, numbers.left_pad_frames) == (65, 72, 16)
    assert (numbers.encoder_frames, numbers.final_encoder_frames, numbers.chunk_samples) == (7, 8, 8960)


@pytest.mark.parametrize(("right_context", "subsampling"), [(0, 8), (1, 8), (6, 8), (13, 8), (1, 4)])
def test_window_sizes_agree(right_context: int, subsampling: int) -> None:
    numbers = geometry(right_context, subsampling=subsampling)
    assert numbers.window_frames == numbers.left_pad_frames + numbers.first_chunk_frames
    assert numbers.final_window_frames == numbers.left_pad_frames + numbers.chunk_frames
    assert numbers.left_pad_frames == numbers.drop_extra_pre_encoded * subsampling


def test_first_chunk_that_does_not_match_the_drop_is_refused() -> None:
    with pytest.raises(ValueError, match="one window shape cannot serve all chunks"):
        StreamingGeometry.of_chunks(
            att_context=(70, 6),
            subsampling=8,
            chunk_frames=56,
            first_chunk_frames=56,
            pre_encode_cache_frames=9,
            drop_extra_pre_encoded=2,
            hop_samples=160,
        )


def test_chunk_that_is_not_the_attention_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="not the 7 encoder frames"):
        StreamingGeometry.of_chunks(
            att_context=(70, 6),
            subsampling=8,
            chunk_frames=64,
            first_chunk_frames=57,
            pre_encode_cache_frames=9,
            drop_extra_pre_encoded=2,
            hop_samples=160,
        )


@pytest.mark.parametrize("right_context", [0, 1, 6])
def test_windows_hold_every_frame_once(right_context: int) -> None:
    numbers = geometry(right_context)
    for frames in range(1, 3 * numbers.chunk_frames + 10):
        features = np.arange(1, frames + 1, dtype=np.float32)[None]
        windows = list(cut(features, numbers))
        new = [windows[0].features[0, numbers.left_pad_frames : windows[0].length]]
        new += [window.features[0, numbers.pre_encode_cache_frames : window.length] for window in windows[1:]]
        np.testing.assert_array_equal(np.concatenate(new), features[0])
        sizes = [window.features.shape[1] for window in windows]
        assert set(sizes[:-1]) <= {numbers.window_frames}
        assert sizes[-1] in (numbers.window_frames, numbers.final_window_frames)


def test_later_windows_repeat_the_frames_before_them() -> None:
    numbers = geometry(6)
    features = np.arange(1, 201, dtype=np.float32)[None]
    second = list(cut(features, numbers))[1]
    np.testing.assert_array_equal(second.features[0], np.arange(49 - 9 + 1, 49 + 56 + 1))


def test_second_window_of_a_one_frame_first_chunk_is_padded() -> None:
    numbers = geometry(0)
    assert (numbers.first_chunk_frames, numbers.second_left_pad_frames) == (1, 8)
    second = list(cut(np.arange(1, 30, dtype=np.float32)[None], numbers))[1]
    np.testing.assert_array_equal(second.features[0], [0] * 8 + list(range(1, 10)))


def test_description_survives_the_disk(tmp_path: Path, shipped: ModelDescription) -> None:
    shipped.save(tmp_path / "description.json")
    assert ModelDescription.load(tmp_path / "description.json") == shipped
    assert (tmp_path / "description.json").read_bytes() == (ROOT / "model-repo" / "description.json").read_bytes()


def test_frame_secs(shipped: ModelDescription) -> None:
    mel = dataclasses.replace(shipped.mel, sample_rate=16_000, hop_samples=160)
    assert dataclasses.replace(shipped, mel=mel).frame_secs == pytest.approx(0.08)
