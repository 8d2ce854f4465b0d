"""Optimisation profiles: every input of every graph, and every shape that the server sends."""

from __future__ import annotations

import onnx
import pytest

from log_mel.vad_gate import LOOK_AHEAD_SAMPLES
from scripts.engines.served_limits import served_limits
from scripts.engines.shapes import GATE_LOOK_AHEAD_SAMPLES, InputRange, ranges
from scripts.export.layout import Layout
from scripts.export.serving_options import ServingOptions
from tests.engines.conftest import LAYOUT

MODELS = ("encoder", "encoder_batch", "decoder_joint")


def test_the_look_ahead_is_that_of_the_gate():
    assert GATE_LOOK_AHEAD_SAMPLES == LOOK_AHEAD_SAMPLES


@pytest.mark.parametrize("model", MODELS)
def test_profiles_fit_the_graph(model, description):
    profile = ranges(description, ServingOptions())[model]
    graph = onnx.load(LAYOUT.root / model / "1" / "model.onnx").graph
    assert set(profile) == {tensor.name for tensor in graph.input}
    for tensor in graph.input:
        shape = profile[tensor.name]
        for position, dim in enumerate(tensor.type.tensor_type.shape.dim):
            sizes = [each[position] for each in (shape.least, shape.usual, shape.largest)]
            assert sizes == sorted(sizes)
            assert sizes[0] >= 1
            if not dim.dim_param:
                assert set(sizes) == {dim.dim_value}


@pytest.mark.parametrize("model", MODELS)
def test_batches_go_from_one_to_what_the_configuration_allows(model, description):
    options = ServingOptions()
    largest = {
        "encoder": options.max_batch_size,
        "encoder_batch": options.batch_max_batch_size,
        "decoder_joint": options.joint_max_batch_size,
    }
    for shape in ranges(description, options)[model].values():
        assert shape.least[0] == 1
        assert shape.largest[0] == largest[model]


def test_every_window_is_within_the_profile(description):
    """First and later chunks, END, and END of a gated stream: what is held back comes in whole chunks."""
    streaming = description.streaming
    features = ranges(description, ServingOptions())["encoder"]["FEATURES"]
    assert features.least[2] == features.usual[2] == streaming.window_frames
    assert features.largest[2] >= streaming.final_window_frames
    held_samples = features.largest[2] - streaming.final_window_frames
    assert held_samples * description.mel.hop_samples >= LOOK_AHEAD_SAMPLES
    assert held_samples % streaming.chunk_frames == 0


def test_numbers_of_this_model(description):
    profiles = ranges(description, ServingOptions())
    assert profiles["encoder"]["FEATURES"] == InputRange((1, 80, 65), (8, 80, 65), (32, 80, 128))
    assert profiles["encoder_batch"]["FEATURES"] == InputRange((1, 80, 1), (2, 80, 1000), (8, 80, 3000))
    assert profiles["decoder_joint"]["ENCODED"] == InputRange((1, 1, 144), (32, 7, 144), (128, 16, 144))


def test_limits_are_those_of_the_repository(tmp_path, description):
    assert served_limits(LAYOUT.root) == ServingOptions()
    options = ServingOptions(max_batch_size=200, batch_max_batch_size=3, joint_max_batch_size=256, max_audio_secs=12)
    Layout(tmp_path).write_configs(description, options)
    profiles = ranges(description, served_limits(tmp_path))
    assert profiles["encoder"]["FEATURES"].largest == (200, 80, 128)
    assert profiles["encoder_batch"]["FEATURES"].largest == (3, 80, 1200)
    assert profiles["decoder_joint"]["TARGET"].largest == (256, 1)
    (tmp_path / "encoder" / "config.pbtxt").write_text("name: 'encoder'")
    with pytest.raises(ValueError, match=r"encoder/config.pbtxt: there is no number like .*max_batch_size"):
        served_limits(tmp_path)


def test_a_joint_that_takes_fewer_rows_than_there_are_streams_is_refused():
    with pytest.raises(ValueError, match="joint_max_batch_size is 128; it must be at least max_batch_size, 200"):
        ServingOptions(max_batch_size=200)
