"""Greedy search by torch against the graph in ONNX Runtime and the loop in Python: the same labels and states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2 as pb

from common.parameters import ModelConfig
from log_mel.mel import LogMel
from onnx_sequence.loop_parts import loop_of, split_at_loop
from onnx_sequence.opening import load_runner
from onnx_sequence.runner import Execution
from rnnt_decoder.decoder import Chunk, Decoder
from rnnt_decoder.joint_graphs import JointGraphs
from rnnt_decoder.local_joint import local_joint
from scripts.export.description import ModelDescription
from scripts.export.greedy_graph import greedy_graph
from scripts.export.onnx_runner import OnnxEncoder

torch = pytest.importorskip("torch", reason="torch is not installed here: make test-nemo")
soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed here: make test-nemo")

from onnx_sequence.torch_graph import TorchGraph  # noqa: E402
from onnx_sequence.torch_runner import TorchRunner  # noqa: E402
from onnx_sequence.torch_search import TorchSearch  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2] / "model-repo"
GRAPH = REPOSITORY / "decoder_greedy" / "1" / "model.onnx"
OUTPUTS = ["LABEL", "FRAME", "LABEL_LOG_PROB", "LABEL_CONFIDENCE", "STATE_H_NEXT", "STATE_C_NEXT"]
BLANK, DIM, HIDDEN = 128, 144, 192
EVALUATION = REPOSITORY.parents[1] / "shared" / "speech" / "eval"
DESCRIPTION = ModelDescription.load(REPOSITORY / "description.json")


def runner(execution: str, path: Path = GRAPH):
    return load_runner(path, Execution.parse(execution), [], slots=0, threads=1)


def random_inputs(random, rows, frames, max_symbols=10):
    loudness = random.choice([0.5, 2.0, 6.0])
    return {
        "ENCODED": (loudness * random.standard_normal((rows, frames, DIM))).astype(np.float32),
        "ENCODED_LENGTH": random.integers(0, frames + 1, (rows, 1)),
        "MAX_SYMBOLS": np.full((rows, 1), max_symbols, np.int32),
        "TARGET": random.integers(0, BLANK + 1, (rows, 1)).astype(np.int32),
        "STATE_H": random.standard_normal((rows, 1, HIDDEN)).astype(np.float32),
        "STATE_C": random.standard_normal((rows, 1, HIDDEN)).astype(np.float32),
    }


def assert_same(got, wanted):
    for name in ("LABEL", "FRAME"):
        # A frame beside the blank says nothing.
        spoken = wanted["LABEL"] != BLANK
        assert got["LABEL"].shape == wanted["LABEL"].shape
        np.testing.assert_array_equal(np.where(spoken, got[name], -1), np.where(spoken, wanted[name], -1))
    for name in ("LABEL_LOG_PROB", "LABEL_CONFIDENCE"):
        np.testing.assert_allclose(np.where(spoken, got[name], 0), np.where(spoken, wanted[name], 0), atol=1e-4)
    for name in ("STATE_H_NEXT", "STATE_C_NEXT"):
        np.testing.assert_allclose(got[name], wanted[name], atol=1e-4)


@pytest.mark.parametrize("prepared", [False, True])
def test_batches_of_every_size_give_what_onnx_runtime_gives(prepared):
    random = np.random.default_rng(int(prepared))
    reference, search = runner("cpu"), runner("torch:cpu")
    assert isinstance(search, TorchSearch)
    if prepared:
        search.prepare({name: 0 * array for name, array in random_inputs(random, 1, 16).items()}, 6, OUTPUTS)
    labels = 0
    for _ in range(40):
        # Some larger and longer than what is prepared; most are filled up, after others that were louder.
        rows, frames = int(random.integers(1, 9)), int(random.integers(1, 19))
        inputs = random_inputs(random, rows, frames, int(random.choice([1, 3, 10])))
        wanted = reference.run(inputs, OUTPUTS)
        assert_same(search.run(inputs, OUTPUTS), wanted)
        labels += int((wanted["LABEL"] != BLANK).sum())
    assert labels > 150


def test_recordings_have_the_tokens_of_the_loop_in_python():
    """All streams in one batch, chunk by chunk, as long as there are chunks: states go out and come in again."""
    recordings = [*(REPOSITORY.parent / "tests" / "data" / "audio").glob("*.flac"), *sorted(EVALUATION.glob("*.wav"))]
    mel = LogMel.configured(read_config("preprocessor"), REPOSITORY / "preprocessor" / "1")
    encoder = OnnxEncoder(REPOSITORY / "encoder" / "1" / "model.onnx", DESCRIPTION)
    encoded = [encoder(mel.utterance(soundfile.read(path, dtype="float32")[0]).T) for path in recordings]
    decoder = Decoder.configured(read_config("decoder"), REPOSITORY / "decoder" / "1")
    joint = local_joint(REPOSITORY / "decoder_joint" / "1" / "model.onnx")
    search = runner("torch:cpu")
    search.prepare({name: 0 * one for name, one in random_inputs(np.random.default_rng(0), 1, 16).items()}, 32, OUTPUTS)
    by_torch = JointGraphs(joint.joint, lambda names, given: search.run(given, names), durations=False)
    hypotheses = []
    for evaluates in (joint, by_torch):
        streams = [decoder.new_stream() for _ in encoded]
        for stream in streams:
            decoder.prepare(stream, {}, start=True)
        for first in range(0, max(map(len, encoded)), 7):
            work = [
                Chunk(stream, frames[first : first + 7], finalize=False, end=False)
                for stream, frames in zip(streams, encoded, strict=True)
                if first < len(frames)
            ]
            decoder.decode(work, evaluates)
        hypotheses.append([stream.search for stream in streams])
    for wanted, got in zip(*hypotheses, strict=True):
        assert (got.tokens.ids, got.tokens.frames) == (wanted.tokens.ids, wanted.tokens.frames)
        assert wanted.tokens.ids
        np.testing.assert_allclose(got.tokens.confidences, wanted.tokens.confidences, atol=1e-4)
        np.testing.assert_allclose(got.state_h, wanted.state_h, atol=1e-4)


def read_config(model):
    config = text_format.Parse((REPOSITORY / model / "config.pbtxt").read_text(), pb.ModelConfig())
    return ModelConfig(json_format.MessageToJson(config, preserving_proto_field_name=True))


def test_the_search_in_half_precision_is_made_of_the_joint_in_half_precision(tmp_path):
    half = pytest.importorskip("scripts.engines.half", reason="onnxruntime.transformers is not installed")
    joint = half.to_half(onnx.load(REPOSITORY / "decoder_joint" / "1" / "model.onnx"))
    onnx.save(greedy_graph(joint), tmp_path / "model.onnx")
    random = np.random.default_rng(3)
    by_torch, by_onnx = runner("torch:cpu", tmp_path / "model.onnx"), runner("cpu", tmp_path / "model.onnx")
    reference = runner("cpu")
    inputs = [random_inputs(random, 4, 7) for _ in range(10)]
    labels = [
        np.concatenate([_flat(item.run(one, ["LABEL"])["LABEL"]) for one in inputs])
        for item in (reference, by_torch, by_onnx)
    ]
    for other in labels[1:]:
        assert len(other) == pytest.approx(len(labels[0]), rel=0.1)


def _flat(labels):
    return labels[labels != BLANK]


def test_a_round_reads_nothing_back_but_whether_there_is_another():
    """The device `meta` has no values: reading one raises, as it would break the capture of a CUDA graph."""
    meta = torch.device("meta")
    parts = split_at_loop(onnx.load(GRAPH).graph)
    inputs = {
        name: torch.from_numpy(array).to(meta) for name, array in random_inputs(np.random.default_rng(0), 2, 7).items()
    }
    before, around = (TorchGraph(part, meta, "part") for part in (parts.before, parts.round))
    values = before(inputs, [*parts.shared, *parts.first])
    carried = {name: values[source] for name, source in zip(parts.carried_in, parts.first, strict=True)}
    shared = {name: values[name] for name in parts.shared}
    made = around({**shared, **carried}, [parts.go_on, *parts.carried_out, *parts.found])
    assert made[parts.go_on].device == meta
    for before_name, after in zip(parts.carried_in, parts.carried_out, strict=True):
        assert made[after].shape == carried[before_name].shape
    uploads = around.uploads
    around({**shared, **carried}, [parts.go_on])
    assert around.uploads == uploads


def test_other_loops_are_refused_by_name(tmp_path):
    graph = onnx.load(GRAPH)
    counted = onnx.ModelProto()
    counted.CopyFrom(graph)
    loop = next(node for node in counted.graph.node if node.op_type == "Loop")
    loop.input[0] = "one_scalar"
    assert loop_of(graph.graph) is not None
    assert loop_of(counted.graph) is None
    onnx.save(counted, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="has operators that torch does not run here: Loop"):
        runner("torch:cpu", tmp_path / "model.onnx")
    renamed = onnx.ModelProto()
    renamed.CopyFrom(graph)
    renamed.graph.input[0].name = "AUDIO"
    onnx.save(renamed, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="torch runs only that of decoder_greedy: serve it with onnxruntime"):
        runner("torch:cpu", tmp_path / "model.onnx")


def test_a_joint_without_a_loop_is_run_as_before():
    assert isinstance(runner("torch:cpu", REPOSITORY / "decoder_joint" / "1" / "model.onnx"), TorchRunner)


def test_cuda_graphs_find_what_the_processor_finds(gpu):
    random = np.random.default_rng(0)
    reference, search = runner("cpu"), runner("torch:cuda")
    search.prepare({name: 0 * array for name, array in random_inputs(random, 1, 16).items()}, 6, OUTPUTS)
    for _ in range(20):
        inputs = random_inputs(random, int(random.integers(1, 9)), int(random.integers(1, 17)))
        assert_same(search.run(inputs, OUTPUTS), reference.run(inputs, OUTPUTS))
