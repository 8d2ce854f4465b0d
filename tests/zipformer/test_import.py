"""What is written fits together; what cannot be served is refused by name."""

from __future__ import annotations

import re

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from scripts.export.description import ModelDescription
from scripts.export.layout import Layout
from scripts.export.onnx_runner import open_graph
from scripts.export.serving_options import ServingOptions
from scripts.export.zipformer.files import UnsupportedZipformerError
from scripts.export.zipformer.importer import import_zipformer
from tests.zipformer.synthetic import PIECES, write_decoder, write_encoder, write_joiner, write_model

TYPES = {pb.TYPE_FP32: "tensor(float)", pb.TYPE_INT32: "tensor(int32)", pb.TYPE_INT64: "tensor(int64)"}


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("repository"))
    import_zipformer(write_model(tmp_path_factory.mktemp("model")), layout, ServingOptions())
    return layout


def config_of(layout, name):
    return text_format.Parse((layout.root / name / "config.pbtxt").read_text(), pb.ModelConfig())


@pytest.mark.parametrize("name", ["encoder", "encoder_batch", "decoder_joint"])
def test_graphs_have_the_tensors_of_their_configuration(layout, name):
    config, session = config_of(layout, name), open_graph(layout.root / name / "1" / "model.onnx")
    inputs = {item.name: (TYPES[item.data_type], list(item.dims)) for item in config.input}
    outputs = {item.name: (TYPES[item.data_type], list(item.dims)) for item in config.output}
    for state in config.sequence_batching.state:
        inputs[state.input_name] = outputs[state.output_name] = (TYPES[state.data_type], list(state.dims))
    for wanted, graph in ((inputs, session.get_inputs()), (outputs, session.get_outputs())):
        found = {item.name: (item.type, [-1 if isinstance(s, str) else s for s in item.shape[1:]]) for item in graph}
        assert found == wanted


def test_the_decoder_knows_the_original_labels_without_the_blank(layout):
    config = config_of(layout, "decoder")
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert layout.vocabularies[0].read_text(encoding="utf-8").splitlines() == PIECES[1:]
    assert parameters["blank_id"] == str(len(PIECES) - 1)
    assert parameters["max_symbols_per_step"] == "1"
    assert float(parameters["frame_secs"]) == pytest.approx(0.04)
    assert ModelDescription.load(layout.description).streaming.chunk_samples == 5120


@pytest.mark.parametrize(
    ("encoder", "batch", "reason"),
    [
        ({}, 32, ""),
        ({"batch": 1}, 32, ""),
        ({"batch": 1, "quantised": True}, 32, ""),
        ({"batch": 1, "mixes_rows": True}, 1, "fixed batch of 1: CumSum .*nobody"),
        ({"quantised": True}, 1, "one scale for the batch"),
    ],
)
def test_streams_share_a_call_of_the_encoder_only_where_that_changes_nothing(tmp_path, encoder, batch, reason):
    layout = Layout(tmp_path / "repository")
    imported = import_zipformer(write_model(tmp_path / "model", **encoder), layout, ServingOptions())
    assert imported.encoder_batch_size == batch
    assert re.search(reason, imported.batch_reason)
    assert bool(reason) == bool(imported.batch_reason)
    sizes = {name: config_of(layout, name).max_batch_size for name in ("encoder", "asr_streaming", "decoder")}
    streams = 8 if batch == 1 else batch  # one run after the other, but handed over together
    assert sizes == {"encoder": streams, "asr_streaming": streams, "decoder": 32}
    assert (config_of(layout, "encoder").parameters["streams_alone"].string_value == "true") == (batch == 1)


def test_streams_share_a_call_of_any_int8_encoder_with_float_activations(tmp_path):
    for batch in (1, "N"):
        folder = write_model(tmp_path / f"model-{batch}", batch=batch, quantised=True)
        layout = Layout(tmp_path / f"repository-{batch}")
        imported = import_zipformer(folder, layout, ServingOptions(), activations="float")
        assert (imported.encoder_batch_size, imported.batch_reason) == (32, "")


def test_int8_encoder_and_float_joiner_are_preferred(tmp_path):
    folder = write_model(tmp_path / "model")
    write_encoder(folder / "encoder-epoch-1.int8.onnx", quantised=True)
    write_joiner(folder / "joiner-epoch-1.int8.onnx", quantised=True)
    imported = import_zipformer(folder, Layout(tmp_path / "repository"), ServingOptions())
    names = [path.name for path in imported.files]
    assert names == ["encoder-epoch-1.int8.onnx", "decoder-epoch-1.onnx", "joiner-epoch-1.onnx"]


def without(name):
    return lambda folder: (folder / name).unlink()


def tokens(text):
    return lambda folder: (folder / "tokens.txt").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (without("joiner-epoch-1.onnx"), FileNotFoundError, r"no joiner\*\.onnx"),
        (without("tokens.txt"), FileNotFoundError, "tokens.txt"),
        (lambda f: write_encoder(f / "encoder-2.onnx"), UnsupportedZipformerError, "several encoder files"),
        (
            lambda f: write_encoder(f / "encoder-epoch-1.onnx", metadata={"model_type": "conformer"}),
            UnsupportedZipformerError,
            "model_type is 'conformer'",
        ),
        (
            lambda f: write_encoder(f / "encoder-epoch-1.onnx", metadata={"feature": "whisper"}),
            UnsupportedZipformerError,
            "Whisper",
        ),
        (
            lambda f: write_encoder(f / "encoder-epoch-1.onnx", metadata={"T": "77"}),
            UnsupportedZipformerError,
            "the window 77 frames",
        ),
        (
            lambda f: write_encoder(f / "encoder-epoch-1.onnx", batch=4),
            UnsupportedZipformerError,
            "batch is fixed at 4",
        ),
        (
            lambda f: write_decoder(f / "decoder-epoch-1.onnx", context=1),
            UnsupportedZipformerError,
            "context_size is 1",
        ),
        (tokens("<blk> 0\na 1\n"), UnsupportedZipformerError, "2 ids; the decoder has 0 to 11"),
        (tokens("<blk>\n"), UnsupportedZipformerError, "line 1 is '<blk>'"),
        (
            tokens("".join(f"p{index} {index}\n" for index in range(12))),
            UnsupportedZipformerError,
            "must be the blank",
        ),
        (
            tokens("<blk> 0\n" + "".join(f"<0x0{index:X}> {index}\n" for index in range(1, 12))),
            UnsupportedZipformerError,
            "single bytes",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path, spoil, error, message):
    folder = write_model(tmp_path / "model")
    spoil(folder)
    with pytest.raises(error, match=message):
        import_zipformer(folder, Layout(tmp_path / "repository"), ServingOptions())
    assert not (tmp_path / "repository").exists()


def test_tail_padding_has_a_range(tmp_path):
    with pytest.raises(UnsupportedZipformerError, match="tail padding is -1 s; allowed: 0 to 5"):
        import_zipformer(tmp_path, Layout(tmp_path), ServingOptions(), -1.0)
