"""The GPU profiles: what is committed is what is rendered, and only a profile's own lines differ from config.pbtxt."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from scripts.export.description import ModelDescription
from scripts.export.layout import Layout
from scripts.export.profiles import PROFILE_FIELDS, PROFILES, batch_sizes
from scripts.export.serving_options import ServingOptions

REPOSITORY = Path(__file__).resolve().parents[2] / "model-repo"
MODELS = ("encoder", "encoder_batch", "decoder_joint")
NAMES = [profile.name for profile in PROFILES]
_ONNX_TYPES = {
    pb.TYPE_FP32: onnx.TensorProto.FLOAT,
    pb.TYPE_INT32: onnx.TensorProto.INT32,
    pb.TYPE_INT64: onnx.TensorProto.INT64,
}


def read(model: str, profile: str = "") -> pb.ModelConfig:
    path = REPOSITORY / model / (f"configs/{profile}.pbtxt" if profile else "config.pbtxt")
    return text_format.Parse(path.read_text(), pb.ModelConfig())


def without_profile_lines(config: pb.ModelConfig) -> pb.ModelConfig:
    for field in PROFILE_FIELDS:
        config.ClearField(field)
    for tensor in config.input:
        tensor.allow_ragged_batch = False
    return config


def test_committed_files_are_what_the_description_renders(tmp_path: Path) -> None:
    Layout(tmp_path).write_configs(ModelDescription.load(Layout(REPOSITORY).description), ServingOptions())
    rendered = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("configs/*.pbtxt"))
    assert rendered == sorted(path.relative_to(REPOSITORY) for path in REPOSITORY.rglob("configs/*.pbtxt"))
    assert rendered == sorted(Path(model, "configs", f"{name}.pbtxt") for model in MODELS for name in NAMES)
    for path in rendered:
        assert (tmp_path / path).read_text() == (REPOSITORY / path).read_text(), path


@pytest.mark.parametrize("profile", NAMES)
@pytest.mark.parametrize("model", MODELS)
def test_only_the_lines_of_the_profile_differ(model: str, profile: str) -> None:
    assert read(model) != read(model, profile)
    assert without_profile_lines(read(model)) == without_profile_lines(read(model, profile))


@pytest.mark.parametrize("profile", NAMES)
@pytest.mark.parametrize("model", MODELS)
def test_names_types_and_sizes_are_those_of_the_graph(model: str, profile: str) -> None:
    config = read(model, profile)
    graph = onnx.load(REPOSITORY / model / "1" / "model.onnx").graph
    states = config.sequence_batching.state
    configured = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in (*config.input, *config.output)}
    configured |= {state.input_name: (state.data_type, list(state.dims)) for state in states}
    configured |= {state.output_name: (state.data_type, list(state.dims)) for state in states}
    actual = {}
    for tensor in (*graph.input, *graph.output):
        batch, *dims = tensor.type.tensor_type.shape.dim
        assert batch.dim_param == "B"
        sizes = [-1 if dim.dim_param else dim.dim_value for dim in dims]
        actual[tensor.name] = (tensor.type.tensor_type.elem_type, sizes)
    assert actual == {name: (_ONNX_TYPES[data_type], sizes) for name, (data_type, sizes) in configured.items()}


@pytest.mark.parametrize("profile", NAMES)
def test_states_are_zero_at_start_and_paired_by_the_order_of_their_names(profile: str) -> None:
    states = read("encoder", profile).sequence_batching.state
    assert len(states) == 3
    by_input = sorted(states, key=lambda state: state.input_name)
    by_output = sorted(states, key=lambda state: state.output_name)
    assert [state.output_name for state in by_input] == [state.output_name for state in by_output]
    assert all(state.initial_state[0].zero_data and state.initial_state[0].dims == state.dims for state in states)


@pytest.mark.parametrize("profile", NAMES)
@pytest.mark.parametrize("model", MODELS)
def test_warm_up_fills_every_input_unless_the_model_has_states(model: str, profile: str) -> None:
    config = read(model, profile)
    assert bool(config.model_warmup) != bool(config.sequence_batching.state)
    for warmup in config.model_warmup:
        assert warmup.batch_size in {1, config.max_batch_size}
        assert set(warmup.inputs) == {tensor.name for tensor in config.input}
        for tensor in config.input:
            given = warmup.inputs[tensor.name]
            assert given.data_type == tensor.data_type
            assert all(size > 0 and want in {-1, size} for size, want in zip(given.dims, tensor.dims, strict=True))


def test_encoder_waits_for_company_and_ragged_shapes_are_left_to_the_python_backend() -> None:
    for name in NAMES:
        config = read("encoder", name)
        assert config.sequence_batching.oldest.max_queue_delay_microseconds > 0
        assert not any(tensor.allow_ragged_batch for tensor in config.input)


def test_a_batch_step_takes_the_whole_gpu_and_streams_go_first() -> None:
    for name in NAMES:
        limits = {model: read(model, name).instance_group[0].rate_limiter for model in MODELS}
        taken = {model: limit.resources[0].count for model, limit in limits.items()}
        assert taken["encoder_batch"] == taken["encoder"] + taken["decoder_joint"]
        assert limits["encoder_batch"].priority > limits["encoder"].priority == limits["decoder_joint"].priority


def test_cuda_graphs_are_for_tensorrt_and_for_every_power_of_two() -> None:
    for model in ("encoder", "decoder_joint"):
        config = read(model, "tensorrt")
        graphs = [spec.batch_size for spec in config.optimization.cuda.graph_spec]
        assert config.optimization.cuda.graphs
        assert graphs == batch_sizes(config.max_batch_size)
    assert not read("encoder", "onnxruntime").optimization.cuda.graphs
    assert not read("encoder_batch", "tensorrt").optimization.cuda.graphs


@pytest.mark.parametrize(("largest", "sizes"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (32, [1, 2, 4, 8, 16, 32])])
def test_batch_sizes(largest: int, sizes: list[int]) -> None:
    assert batch_sizes(largest) == sizes
