"""Graphs with their caches on a device, on the processor: streams that come, go and fall silent, against NumPy."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import json_format, text_format
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail
from tritonclient.grpc import model_config_pb2 as pb

from common.parameters import ModelConfig
from common.sequences import SequenceTable, ServerBusy
from onnx_sequence.bound_runner import BoundRunner
from onnx_sequence.caches import StateTensor, parse_states
from onnx_sequence.opening import open_runner
from onnx_sequence.runner import CpuRunner, Execution
from onnx_sequence.session import OnnxSession
from onnx_sequence.warm_up import usual_row, warm_up

try:
    import torch

    from onnx_sequence import torch_graph
    from onnx_sequence.torch_graph import TorchGraph
    from onnx_sequence.torch_runner import TorchRunner
except ImportError:
    torch = None

REPOSITORY = Path(__file__).resolve().parents[2] / "model-repo"
STATES = [StateTensor("sum", "sum_next", np.float32, (2, 3)), StateTensor("steps", "steps_next", np.int64, (1,))]
OUTPUTS = ["y", "count"]
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed here: make test-nemo")
ENGINES = ["onnxruntime:cpu", pytest.param("torch:cpu", marks=needs_torch)]
DEVICES = [*ENGINES, pytest.param("torch:cuda", marks=needs_torch)]


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """y = sum + x, sum_next = sum / 2 + x; count and steps count."""
    tensors = {
        "x": (TensorProto.FLOAT, ["B", 2, 3]),
        "sum": (TensorProto.FLOAT, ["B", 2, 3]),
        "steps": (TensorProto.INT64, ["B", 1]),
        "y": (TensorProto.FLOAT, ["B", 2, 3]),
        "count": (TensorProto.INT64, ["B", 1]),
        "sum_next": (TensorProto.FLOAT, ["B", 2, 3]),
        "steps_next": (TensorProto.INT64, ["B", 1]),
    }
    values = {name: helper.make_tensor_value_info(name, *kind) for name, kind in tensors.items()}
    nodes = [
        helper.make_node("Add", ["sum", "x"], ["y"]),
        helper.make_node("Mul", ["sum", "half"], ["faded"]),
        helper.make_node("Add", ["faded", "x"], ["sum_next"]),
        helper.make_node("Add", ["steps", "one"], ["steps_next"]),
        helper.make_node("Identity", ["steps_next"], ["count"]),
    ]
    constants = [
        helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("one", TensorProto.INT64, [], [1]),
    ]
    inputs = [values[name] for name in ("x", "sum", "steps")]
    outputs = [values[name] for name in (*OUTPUTS, "sum_next", "steps_next")]
    model = helper.make_model(
        helper.make_graph(nodes, "counter", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def device(request):
    """An execution, and the GPU that it needs."""
    if request.param.startswith("torch:cuda"):
        request.getfixturevalue("gpu")
    return request.param


def runner_for(execution: str, path: Path, states, slots: int):
    kind = BoundRunner if execution.startswith("onnxruntime") else TorchRunner
    return kind(path, Execution.parse(execution), states, slots=slots, threads=1)


def in_numpy(path: Path, states) -> CpuRunner:
    return CpuRunner(OnnxSession(path, intra_op_threads=1, allow_spinning=False), states)


class Streams:
    """A runner and the table that owns its slots, with a clock of its own."""

    def __init__(self, runner) -> None:
        self.now = 0.0
        self.runner = runner
        self.table = SequenceTable(runner.acquire, runner.release, idle_secs=5, clock=lambda: self.now)

    def step(self, named: dict[str, np.ndarray], started: set[str], ended: set[str]) -> dict[str, np.ndarray]:
        self.table.expire()
        slots = [self.table.enter(name, start=name in started, end=name in ended).state for name in named]
        outputs = self.runner.advance({"x": np.stack(list(named.values()))}, slots, OUTPUTS)
        for name in ended:
            self.table.end(name)
        return outputs


@pytest.mark.parametrize("device", DEVICES, indirect=True)
@pytest.mark.parametrize("prepared", [0, 3])
def test_streams_that_come_and_go_have_the_caches_that_numpy_gives_them(graph, device, prepared):
    rng, noise = random.Random(prepared), np.random.default_rng(prepared)
    streams, reference = Streams(runner_for(device, graph, STATES, slots=12)), Streams(in_numpy(graph, STATES))
    if prepared:  # batches above it run in another way than those below
        streams.runner.prepare({"x": np.zeros((1, 2, 3), np.float32)}, prepared, OUTPUTS)
    live: dict[str, float] = {}
    for tick in range(400):
        now = float(tick)
        streams.now = reference.now = now
        live = {name: used for name, used in live.items() if used >= now - 5}
        chosen = rng.sample(sorted(live), rng.randint(0, len(live)))[:6]
        started = {f"stream {tick}"} if len(live) < 10 and rng.random() < 0.5 else set()
        if chosen and rng.random() < 0.1:
            started.add(chosen[0])  # START of a live ID
        named = {name: noise.standard_normal((2, 3)).astype(np.float32) for name in dict.fromkeys([*chosen, *started])}
        if not named:
            continue
        ended = {name for name in named if rng.random() < 0.15}
        wanted, got = (each.step(named, started, ended) for each in (reference, streams))
        np.testing.assert_array_equal(got["count"], wanted["count"])
        np.testing.assert_allclose(got["y"], wanted["y"], rtol=1e-6)
        live |= dict.fromkeys(named, now)
        live = {name: used for name, used in live.items() if name not in ended}
        assert streams.runner.used == reference.runner.used == len(streams.table)
    assert wanted["count"].max() > 3
    streams.now = 1e6
    streams.table.expire()
    assert streams.runner.used == 0


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_more_streams_than_slots_are_refused_and_the_others_go_on(graph, device):
    runner = runner_for(device, graph, STATES, slots=2)
    runner.prepare({"x": np.zeros((1, 2, 3), np.float32)}, 4, OUTPUTS)  # a batch that can never be
    slots = [runner.acquire() for _ in range(2)]
    with pytest.raises(ServerBusy, match="server full: 2 cache slots are in use"):
        runner.acquire()
    runner.advance({"x": np.ones((2, 2, 3), np.float32)}, slots, OUTPUTS)
    runner.release(slots[0])
    assert runner.acquire() == slots[0]
    outputs = runner.advance({"x": np.ones((2, 2, 3), np.float32)}, slots, OUTPUTS)
    np.testing.assert_array_equal(outputs["count"], [[1], [2]])


def test_a_provider_that_fails_is_not_replaced_by_the_processor(graph, monkeypatch):
    """ONNX Runtime's `run` makes a new session of its own accord."""

    class Failing:
        def __getattr__(self, name):
            return getattr(session, name)

        def run(self, *_):
            raise EPFail("the device is gone")

    runner = runner_for("onnxruntime:cpu", graph, [], slots=0)
    session = runner._session._sess
    monkeypatch.setattr(runner._session, "_sess", Failing())
    row = {"x": np.zeros((1, 2, 3), np.float32), "sum": np.zeros((1, 2, 3), np.float32), "steps": np.zeros((1, 1), int)}
    with pytest.raises(EPFail, match="the device is gone"):
        runner.run(row, OUTPUTS)


@pytest.fixture(scope="module")
def encoder_config():
    text = (REPOSITORY / "encoder" / "config.pbtxt").read_text()
    return text_format.Parse(text, pb.ModelConfig())


def configured(encoder_config, **parameters) -> ModelConfig:
    config = pb.ModelConfig()
    config.CopyFrom(encoder_config)
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    return ModelConfig(json_format.MessageToJson(config, preserving_proto_field_name=True))


@pytest.mark.parametrize("execution", ENGINES)
def test_the_shipped_encoder_gives_the_same_frames(encoder_config, execution):
    config = configured(encoder_config, execution=execution)
    states = parse_states(config.raw)
    runners = [open_runner(item, REPOSITORY / "encoder" / "1", states) for item in (configured(encoder_config), config)]
    slots = [[runner.acquire() for _ in range(3)] for runner in runners]
    noise = np.random.default_rng(0)
    for rows, frames in (((0, 1, 2), 65), ((2, 0), 65), ((1,), 65), ((0, 1, 2), 73)):
        inputs = {
            "FEATURES": noise.standard_normal((len(rows), 80, frames)).astype(np.float32),
            "FEATURES_LENGTH": np.full((len(rows), 1), frames),
        }
        wanted, got = (
            runner.advance(inputs, [own[row] for row in rows], ["ENCODED", "ENCODED_LENGTH"])
            for runner, own in zip(runners, slots, strict=True)
        )
        np.testing.assert_array_equal(got["ENCODED_LENGTH"], wanted["ENCODED_LENGTH"])
        np.testing.assert_allclose(got["ENCODED"], wanted["ENCODED"], atol=2e-5)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"execution": "cuda"}, ValueError, "execution is 'cuda'; allowed: cpu, torch:cuda, onnxruntime:cuda"),
        ({"precision": "fp8"}, FileNotFoundError, "precision 'fp8' needs .*model.fp8.onnx, which is missing"),
    ],
)
def test_what_is_not_there_is_refused(encoder_config, parameters, error, message):
    config = configured(encoder_config, **parameters)
    with pytest.raises(error, match=message):
        open_runner(config, REPOSITORY / "encoder" / "1", parse_states(config.raw))


@pytest.mark.parametrize(
    ("execution", "message"),
    [
        ("onnxruntime:cuda", "has .*CPUExecutionProvider and not CUDAExecutionProvider; install onnxruntime-gpu"),
        pytest.param("torch:cuda", r"no GPU that this torch \(.*\) can use", marks=needs_torch),
    ],
)
def test_a_gpu_that_is_not_there_is_no_reason_to_take_the_processor(graph, execution, message):
    if torch is not None and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match=message):
        runner_for(execution, graph, STATES, slots=2)


@needs_torch
@pytest.mark.parametrize(("model", "frames"), [("encoder", 65), ("encoder_batch", 100), ("decoder_joint", 3)])
def test_a_step_needs_nothing_from_the_host_but_its_inputs(model, frames):
    """The device `meta` has no values: reading one raises, as it would break the capture of a CUDA graph."""
    path = REPOSITORY / model / "1" / "model.onnx"
    meta = torch.device("meta")
    graph = TorchGraph.load(path, meta)
    types = {TensorProto.FLOAT: torch.float32, TensorProto.INT64: torch.int64, TensorProto.INT32: torch.int32}
    inputs = {}
    for item in onnx.load(path).graph.input:
        kind = item.type.tensor_type
        sizes = {"B": 2, "T": frames}
        shape = [sizes[dim.dim_param] if dim.dim_param else dim.dim_value for dim in kind.shape.dim]
        inputs[item.name] = torch.zeros(shape, dtype=types[kind.elem_type], device=meta)
    outputs = graph(inputs, graph.output_names)
    assert all(value.device == meta and len(value) == 2 for value in outputs.values())
    uploads = graph.uploads
    graph(inputs, graph.output_names)
    assert graph.uploads == uploads > 0


@needs_torch
@pytest.mark.parametrize("lost", [False, True])
def test_a_process_whose_gpu_is_lost_ends_and_after_another_error_it_goes_on(graph, gpu, monkeypatch, lost):
    if torch.cuda.get_device_name() != "simulated":
        pytest.skip("there is a GPU, which shall not be lost")
    ended = []

    def synchronize(device):
        if lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr("os._exit", ended.append)
    runner = runner_for("torch:cuda", graph, STATES, slots=2)
    with pytest.raises(RuntimeError, match="node"):
        runner.advance({"x": np.zeros((1, 2, 5), np.float32)}, [runner.acquire()], OUTPUTS)
    assert ended == ([1] if lost else [])


@needs_torch
def test_too_little_memory_is_told_with_the_setting_that_wants_less(encoder_config, gpu, monkeypatch):
    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    config = configured(encoder_config, execution="torch:cuda")
    states, folder = parse_states(config.raw), REPOSITORY / "encoder" / "1"
    runner = open_runner(config, folder, states)
    with monkeypatch.context() as patch:
        patch.setitem(torch_graph.OPERATORS, "MatMul", full)
        for_a_batch = open_runner(config, folder, states)
    with pytest.raises(RuntimeError, match="a batch of 4, which is AMIRA_MAX_BATCH_SIZE: CUDA out of memory"):
        for_a_batch.prepare(usual_row(config), 4, ["ENCODED", "ENCODED_LENGTH"])
    monkeypatch.setattr(torch, "zeros", full)
    with pytest.raises(RuntimeError, match=f"caches of {runner.total} streams, which is twice AMIRA_MAX_CONCURRENT"):
        open_runner(config, folder, states)


@needs_torch
@pytest.mark.parametrize("model", ["decoder_joint", "encoder_batch"])
def test_graphs_without_states_answer_on_the_device_as_on_the_processor(gpu, model):
    text = (REPOSITORY / model / "config.pbtxt").read_text()
    config = text_format.Parse(text, pb.ModelConfig())
    plain, on_gpu = (configured(config, execution=execution) for execution in ("cpu", "torch:cuda"))
    runners = [open_runner(item, REPOSITORY / model / "1", []) for item in (plain, on_gpu)]
    warm_up(runners[1], on_gpu)
    names = [item["name"] for item in plain.raw["output"]]
    noise = np.random.default_rng(0)
    sizes = {"FEATURES": (80, 100), "FEATURES_LENGTH": (1,), "ENCODED": (1, 144), "TARGET": (1,)}
    for rows in (1, 3, 2):
        inputs = {}
        for item in plain.raw["input"]:
            shape = (rows, *sizes.get(item["name"], (1, 192)))
            whole = noise.integers(1, 100, shape) if "INT" in item["data_type"] else noise.standard_normal(shape)
            inputs[item["name"]] = whole.astype({"TYPE_INT32": "i4", "TYPE_INT64": "i8"}.get(item["data_type"], "f4"))
        wanted, got = (runner.run(inputs, names) for runner in runners)
        for name in set(names) - {"LABEL"}:  # the best of two that are as good may be either
            np.testing.assert_allclose(got[name], wanted[name], atol=2e-2)  # TF32


@needs_torch
def test_operators_without_a_torch_counterpart_are_named(graph, tmp_path):
    model = onnx.load(graph)
    model.graph.node.append(helper.make_node("NonZero", ["y"], ["places"], name="where_is_it"))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r"NonZero \(node 'where_is_it'\); serve it with onnxruntime"):
        runner_for("torch:cpu", tmp_path / "model.onnx", STATES, slots=2)


@needs_torch
def test_sizes_are_not_kept_without_end(graph, monkeypatch):
    """A model of utterances has others for each length; a graph that was captured reads those that were there."""
    kept = torch_graph._KEPT_BYTES
    monkeypatch.setattr(torch_graph, "_KEPT_BYTES", 3000)
    meta = torch.device("meta")
    running = TorchGraph.load(REPOSITORY / "encoder_batch" / "1" / "model.onnx", meta)
    uploads = []
    for frames in (100, 100, 900, 900, 100):
        before = running.uploads
        lengths = torch.zeros(1, 1, dtype=torch.int64, device=meta)
        running({"FEATURES": torch.zeros(1, 80, frames, device=meta), "FEATURES_LENGTH": lengths}, ["ENCODED"])
        uploads.append(running.uploads - before)
    assert uploads[0] > 0
    assert uploads[1] == uploads[4] == 0  # kept
    assert uploads[2] >= uploads[3] > 0  # for what is too large there is no place
    assert kept > 1e8


@needs_torch
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_cuda_graphs_give_the_frames_of_the_processor(encoder_config, gpu, precision, tmp_path):
    states = parse_states(configured(encoder_config).raw)
    folder = REPOSITORY / "encoder" / "1"
    if precision == "fp16":
        half = pytest.importorskip("scripts.engines.half", reason="onnxruntime.transformers is not installed")
        onnx.save(half.to_half(onnx.load(folder / "model.onnx")), tmp_path / "model.fp16.onnx")
        folder = tmp_path
    on_gpu = open_runner(configured(encoder_config, execution="torch:cuda", precision=precision), folder, states)
    before = torch.get_float32_matmul_precision()
    row = {"FEATURES": np.zeros((1, 80, 65), np.float32), "FEATURES_LENGTH": np.zeros((1, 1), np.int64)}
    on_gpu.prepare(row, 6, ["ENCODED", "ENCODED_LENGTH"])
    runners = [open_runner(configured(encoder_config), REPOSITORY / "encoder" / "1", states), on_gpu]
    slots = [[runner.acquire() for _ in range(5)] for runner in runners]
    noise = np.random.default_rng(0)
    for rows, frames in (((0, 1, 2), 65), ((2, 0), 65), ((1, 3, 4, 0, 2), 65), ((4,), 65), ((4, 1), 73)):
        features = noise.standard_normal((len(rows), 80, frames)).astype(np.float32)
        inputs = {"FEATURES": features, "FEATURES_LENGTH": np.full((len(rows), 1), frames)}
        wanted, got = (
            runner.advance(inputs, [own[row] for row in rows], ["ENCODED", "ENCODED_LENGTH"])
            for runner, own in zip(runners, slots, strict=True)
        )
        np.testing.assert_array_equal(got["ENCODED_LENGTH"], wanted["ENCODED_LENGTH"])
        np.testing.assert_allclose(got["ENCODED"], wanted["ENCODED"], atol=2e-2)  # TF32
    assert torch.get_float32_matmul_precision() == before  # features and search beside it stay exact
