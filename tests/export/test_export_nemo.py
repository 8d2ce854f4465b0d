"""Export of NeMo models with random weights: exact against NeMo in every shape it may have. Needs NeMo."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nemo.collections.asr", reason="NeMo lives in its own environment: make test-nemo")

import torch

from scripts.export.description import ModelDescription
from scripts.export.exporter import export_checkpoint, export_model
from scripts.export.layout import Layout
from scripts.export.onnx_runner import OnnxEncoder, empty_caches, open_graph, run_graph
from scripts.export.reading import describe, select_att_context
from scripts.export.serving_options import ServingOptions
from scripts.export.streaming_encoder import StreamingEncoder
from scripts.export.verify import encode_offline, verify
from scripts.export.windows import cut
from tests.export.tiny_models import TinyModel

TOLERANCE = 1e-4

SERVED = {
    "as shipped": TinyModel(),
    "128 mels, two-layer prediction network": TinyModel(n_mels=128, prediction_layers=2),
    "output projection": TinyModel(feat_out=48),
    "batch norm, no input scaling, no biases": TinyModel(conv_norm="batch_norm", xscaling=False, use_bias=False),
    "subsampling by 4": TinyModel(subsampling_factor=4),
    "causal attention": TinyModel(att_context=((10, 0),), att_context_style="regular"),
    "cache of one chunk": TinyModel(att_context=((7, 6),)),
    "TDT": TinyModel(durations=(0, 1, 2, 3, 4)),
}


@pytest.mark.parametrize("name", SERVED)
def test_graphs_equal_nemo(name: str, tmp_path: Path) -> None:
    model, checkpoint = SERVED[name].save(tmp_path)
    layout = Layout(tmp_path / "model-repo")
    description = export_model(model, checkpoint, layout, ServingOptions())
    differences = verify(model, description, layout)
    assert max(differences.encoder, differences.encoder_batch, differences.decoder_joint) < TOLERANCE


@pytest.mark.parametrize("context", [(14, 6), (14, 1), (14, 0)])
def test_every_trained_context_equals_nemo_at_every_length(context: tuple[int, int], tmp_path: Path) -> None:
    model, checkpoint = TinyModel().save(tmp_path)
    layout = Layout(tmp_path / "model-repo")
    description = export_model(model, checkpoint, layout, ServingOptions(), context)
    assert description.streaming.att_context == context
    encoder = OnnxEncoder(layout.encoder, description)
    random = np.random.default_rng(1)
    for frames in range(1, 3 * description.streaming.chunk_frames + 20):
        features = random.standard_normal((description.mel.n_mels, frames)).astype(np.float32)
        np.testing.assert_allclose(encoder(features), encode_offline(model, features), atol=TOLERANCE)


@torch.no_grad()
def test_steps_and_caches_equal_cache_aware_stream_step(tmp_path: Path) -> None:
    """Not only the frames: every cache after every chunk is the one NeMo keeps."""
    model, checkpoint = TinyModel().save(tmp_path)
    select_att_context(model, None)
    description = describe(model, checkpoint)
    streaming = description.streaming
    encoder = StreamingEncoder(model.encoder, streaming, description.encoder)
    features = np.random.default_rng(2).standard_normal((description.mel.n_mels, 300)).astype(np.float32)
    caches = [torch.from_numpy(array) for array in empty_caches(description.encoder, 1).values()]
    channel, time, length = model.encoder.get_initial_cache_state(batch_size=1)
    for index, window in enumerate(cut(features, streaming)):
        encoded, encoded_length, *caches = encoder(
            torch.from_numpy(window.features)[None], torch.tensor([[window.length]]), *caches
        )
        start = streaming.left_pad_frames if index == 0 else 0
        valid = torch.from_numpy(window.features)[None, :, start : window.length]
        expected, expected_length, channel, time, length = model.encoder.cache_aware_stream_step(
            processed_signal=valid,
            processed_signal_length=torch.tensor([valid.size(2)]),
            cache_last_channel=channel,
            cache_last_time=time,
            cache_last_channel_len=length,
            keep_all_outputs=True,
            drop_extra_pre_encoded=streaming.drop_extra_pre_encoded if index else 0,
        )
        frames = int(expected_length)
        assert encoded_length.item() == frames
        torch.testing.assert_close(encoded[:, :frames], expected.transpose(1, 2), atol=TOLERANCE, rtol=0)
        if window.length == streaming.window_frames:  # padding of a last window goes into caches nobody reads
            torch.testing.assert_close(caches[0], channel.transpose(0, 1), atol=TOLERANCE, rtol=0)
            torch.testing.assert_close(caches[1][:, 0], length)
            torch.testing.assert_close(caches[2], time.transpose(0, 1), atol=TOLERANCE, rtol=0)
    assert index == 5


def test_long_utterance_beyond_the_position_table_of_the_checkpoint(tmp_path: Path) -> None:
    model, checkpoint = TinyModel().save(tmp_path)
    layout = Layout(tmp_path / "model-repo")
    description = export_model(model, checkpoint, layout, ServingOptions())
    frames = 8 * (model.encoder.pos_emb_max_len + 100)
    features = np.random.default_rng(3).standard_normal((description.mel.n_mels, frames)).astype(np.float32)
    outputs = run_graph(
        open_graph(layout.encoder_batch), {"FEATURES": features[None], "FEATURES_LENGTH": np.array([[frames]])}
    )
    np.testing.assert_allclose(outputs["ENCODED"][0], encode_offline(model, features), atol=TOLERANCE)


def test_description_is_read_from_the_checkpoint(tmp_path: Path) -> None:
    tiny = TinyModel(n_mels=128, prediction_layers=2, feat_out=48)
    model, checkpoint = tiny.save(tmp_path)
    select_att_context(model, (14, 1))
    description = describe(model, checkpoint)
    assert description.source.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert description.mel.n_mels == 128
    assert description.mel.log_guard == 2**-24
    assert description.streaming.window_frames == 9 + 16
    assert (description.encoder.model_dim, description.encoder.encoder_dim) == (32, 48)
    assert (description.encoder.left_context, description.encoder.convolution_context) == (14, 8)
    assert description.transducer.prediction_layers == 2
    assert description.transducer.vocabulary_size == description.transducer.blank_id == 40
    assert description.transducer.max_symbols_per_step == 7


def test_exporting_twice_gives_the_same_files(tmp_path: Path) -> None:
    _, checkpoint = TinyModel().save(tmp_path)
    for name in ("first", "second"):
        export_checkpoint(checkpoint, Layout(tmp_path / name), ServingOptions())
    first = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert Path("encoder/1/model.onnx") in first
    for path in first:
        assert (tmp_path / "first" / path).read_bytes() == (tmp_path / "second" / path).read_bytes(), path


def test_artifacts_hold_what_the_checkpoint_holds(tmp_path: Path) -> None:
    model, checkpoint = TinyModel().save(tmp_path)
    layout = Layout(tmp_path / "model-repo")
    export_model(model, checkpoint, layout, ServingOptions())
    with np.load(layout.mels[0]) as mel:
        np.testing.assert_array_equal(mel["filterbank"], model.preprocessor.featurizer.fb[0])
        np.testing.assert_array_equal(mel["window"], model.preprocessor.featurizer.window)
    pieces = layout.vocabularies[0].read_text(encoding="utf-8").splitlines()
    assert pieces == model.tokenizer.ids_to_tokens(list(range(40)))
    assert ModelDescription.load(layout.description).transducer.blank_id == len(pieces)
