"""ONNX Runtime's provider for TensorRT, as far as it goes without one: its options, its shapes, and its refusal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2 as pb

from common.parameters import ModelConfig
from onnx_sequence.bound_runner import BoundRunner
from onnx_sequence.caches import StateTensor, parse_states
from onnx_sequence.opening import load_runner, open_runner
from onnx_sequence.providers import engine_folder, has_loops, is_half, tensorrt_options
from onnx_sequence.runner import Execution
from onnx_sequence.shape_ranges import shape_ranges
from onnx_sequence.slotted_graph import POOL_OPERATORS, with_slots
from scripts.engines.shapes import ranges as engine_ranges
from scripts.export.description import ModelDescription
from scripts.export.serving_options import ServingOptions

REPOSITORY = Path(__file__).resolve().parents[2] / "model-repo"
# https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html#configurations, ONNX Runtime 1.20
DOCUMENTED = {
    "device_id",
    "user_compute_stream",
    "trt_engine_cache_enable",
    "trt_engine_cache_path",
    "trt_engine_cache_prefix",
    "trt_max_workspace_size",
    "trt_fp16_enable",
    "trt_int8_enable",
    "trt_int8_calibration_table_name",
    "trt_int8_use_native_calibration_table",
    "trt_build_heuristics_enable",
    "trt_sparsity_enable",
    "trt_dla_enable",
    "trt_dla_core",
    "trt_max_partition_iterations",
    "trt_min_subgraph_size",
    "trt_dump_subgraphs",
    "trt_force_sequential_engine_build",
    "trt_context_memory_sharing_enable",
    "trt_layer_norm_fp32_fallback",
    "trt_timing_cache_enable",
    "trt_timing_cache_path",
    "trt_force_timing_cache",
    "trt_detailed_build_log",
    "trt_cuda_graph_enable",
    "trt_builder_optimization_level",
    "trt_auxiliary_streams",
    "trt_tactic_sources",
    "trt_extra_plugin_lib_paths",
    "trt_profile_min_shapes",
    "trt_profile_opt_shapes",
    "trt_profile_max_shapes",
    "trt_dump_ep_context_model",
    "trt_ep_context_file_path",
    "trt_ep_context_embed_mode",
    "trt_engine_hw_compatible",
    "trt_weight_stripped_engine_enable",
    "trt_onnx_model_folder_path",
    "trt_op_types_to_exclude",
}
TENSORRT = Execution.parse("onnxruntime:tensorrt:1")


def configured(model: str, **parameters: str) -> ModelConfig:
    config = text_format.Parse((REPOSITORY / model / "config.pbtxt").read_text(), pb.ModelConfig())
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    return ModelConfig(json_format.MessageToJson(config, preserving_proto_field_name=True))


def profile(options: dict[str, str], which: str) -> dict[str, tuple[int, ...]]:
    pairs = (item.split(":") for item in options[f"trt_profile_{which}_shapes"].split(","))
    return {name: tuple(map(int, sizes.split("x"))) for name, sizes in pairs}


@pytest.mark.parametrize("model", ["encoder", "encoder_batch", "decoder_joint"])
def test_the_options_are_documented_ones_and_name_every_input(model, tmp_path):
    config = configured(model)
    states = parse_states(config.raw)
    graph = onnx.load(REPOSITORY / model / "1" / "model.onnx")
    options = tensorrt_options(TENSORRT, shape_ranges(config, states), states, half=True, engines=tmp_path)
    assert set(options) <= DOCUMENTED
    assert (options["device_id"], options["trt_fp16_enable"]) == ("1", "1")
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(tmp_path)
    shapes = {which: profile(options, which) for which in ("min", "opt", "max")}
    assert shapes["min"].keys() == shapes["opt"].keys() == shapes["max"].keys()
    for name, least in shapes["min"].items():
        assert all(a <= b <= c for a, b, c in zip(least, shapes["opt"][name], shapes["max"][name], strict=True))
    # TensorRT refuses a profile that leaves out an input of its part of the graph: all that the pools do not take.
    slotted = with_slots(graph, states).graph if states else graph.graph
    outside = [node for node in slotted.node if node.op_type in POOL_OPERATORS]
    assert len(outside) == 2 * len(states)  # those of the pools, and no other
    taken = {name for node in outside for name in node.input}
    needed = {item.name for item in slotted.input if item.name not in taken}
    needed |= {node.output[0] for node in outside if node.op_type == "GatherND"}
    assert needed <= shapes["min"].keys()
    assert ("trt_op_types_to_exclude" in options) == bool(states)


def test_shapes_are_those_of_make_engines():
    wanted = engine_ranges(ModelDescription.load(REPOSITORY / "description.json"), ServingOptions())
    for model in ("encoder", "encoder_batch", "decoder_joint"):
        config = configured(model)
        for name, item in shape_ranges(config, parse_states(config.raw)).items():
            assert item.least == wanted[model][name].least
            assert item.usual[0] == wanted[model][name].usual[0]
            # Whole utterances: the two seconds that a front end may add are accepted here, too.
            assert all(a >= b for a, b in zip(item.largest, wanted[model][name].largest, strict=True))
            if model == "encoder":
                assert (item.usual, item.largest) == (wanted[model][name].usual, wanted[model][name].largest)


def test_an_input_of_any_length_is_refused():
    raw = configured("encoder").raw
    del raw["parameters"]["max_frames"]
    config = ModelConfig(json.dumps(raw))
    with pytest.raises(ValueError, match=r"'encoder': FEATURES may have any length.*needs max_frames"):
        shape_ranges(config, parse_states(config.raw))


def test_a_graph_with_a_loop_and_one_in_half_precision_are_told():
    loops = {name: has_loops(onnx.load(REPOSITORY / name / "1" / "model.onnx").graph) for name in _GRAPHS}
    assert loops == {"encoder": False, "decoder_joint": False, "decoder_greedy": True}
    half = onnx.helper.make_graph([], "half", [], [], [onnx.numpy_helper.from_array(np.zeros(1, np.float16), "x")])
    assert is_half(half)
    assert not is_half(onnx.load(REPOSITORY / "encoder" / "1" / "model.onnx").graph)


_GRAPHS = ("encoder", "decoder_joint", "decoder_greedy")


def test_engines_lie_beside_the_graph_that_a_staged_link_leads_to(tmp_path):
    (tmp_path / "repository/encoder/1").mkdir(parents=True)
    graph = tmp_path / "repository/encoder/1/model.onnx"
    graph.touch()
    link = tmp_path / "model.onnx"
    link.symlink_to(graph)
    assert engine_folder(link) == tmp_path / "repository/encoder/engines/onnxruntime"
    (tmp_path / "file/1").mkdir(parents=True)
    (tmp_path / "file/engines").touch()
    with pytest.raises(RuntimeError, match=r"onnxruntime:tensorrt keeps its engines in .*file/engines/onnxruntime"):
        engine_folder(tmp_path / "file/1/model.onnx")


def test_an_onnxruntime_without_it_is_no_reason_to_take_another():
    if "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has TensorRT's provider")
    config = configured("encoder", execution="onnxruntime:tensorrt")
    states = parse_states(config.raw)
    with pytest.raises(RuntimeError, match=r"not TensorrtExecutionProvider; install onnxruntime-gpu .* TensorRT"):
        open_runner(config, REPOSITORY / "encoder" / "1", states)
    with pytest.raises(ValueError, match=r"execution is 'torch:tensorrt'; allowed: .*onnxruntime:tensorrt"):
        Execution.parse("torch:tensorrt")


def test_without_shapes_it_is_refused(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: _ALL)
    state = StateTensor("cache_len", "cache_len_next", np.int64, (1,))
    with pytest.raises(ValueError, match="TensorRT needs to know the shapes of its inputs"):
        load_runner(REPOSITORY / "encoder" / "1" / "model.onnx", TENSORRT, [state], slots=1, threads=1)


_ALL = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


def test_a_provider_that_cannot_be_loaded_is_named(monkeypatch, tmp_path):
    """ONNX Runtime leaves it out with a line on the terminal; the session then has the processor alone."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: _ALL)
    if "TensorrtExecutionProvider" in onnxruntime.capi._pybind_state.get_available_providers():
        pytest.skip("this onnxruntime has TensorRT's provider")
    (tmp_path / "joint/1").mkdir(parents=True)
    graph = tmp_path / "joint/1/model.onnx"
    graph.write_bytes((REPOSITORY / "decoder_joint" / "1" / "model.onnx").read_bytes())
    ranges = shape_ranges(configured("decoder_joint"), [])
    with pytest.raises((RuntimeError, ValueError), match="TensorrtExecutionProvider"):
        BoundRunner(graph, TENSORRT, [], slots=0, threads=1, ranges=ranges)
