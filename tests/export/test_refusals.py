"""What cannot be served is refused with the reason. Needs NeMo."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("nemo.collections.asr", reason="NeMo lives in its own environment: make test-nemo")

from nemo.collections.asr.models import EncDecCTCModelBPE
from omegaconf import OmegaConf

from scripts.export.exporter import export_checkpoint
from scripts.export.layout import Layout
from scripts.export.reading import select_att_context
from scripts.export.serving_options import ServingOptions
from scripts.export.support import UnsupportedModelError, check_supported
from scripts.export.verify import verify
from tests.export.tiny_models import TinyModel

REFUSED = {
    "normalised features": (TinyModel(normalize="per_feature"), "normalised .'per_feature'. with statistics"),
    "full context": (
        TinyModel(att_context=((-1, -1),), att_context_style="regular", conv_context=None),
        r"attention context is \[-1, -1\]",
    ),
    "unlimited left context": (TinyModel(att_context=((-1, 6),)), r"attention context is \[-1, 6\]"),
    "look-ahead in every layer": (
        TinyModel(att_context=((14, 2),), att_context_style="regular"),
        "look-ahead grows with every layer",
    ),
    "convolutions that look ahead": (TinyModel(conv_context=None), "convolutions look 4 frames ahead"),
    "subsampling that looks ahead": (TinyModel(causal_downsampling=False), "subsampling is not causal"),
    "multi-blank": (TinyModel(big_blanks=(2, 4)), "2 outputs besides labels and blank, .* no multi-blank ones"),
    "stateless prediction network": (TinyModel(stateless=True), "stateless"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    tiny, reason = REFUSED[name]
    with pytest.raises(UnsupportedModelError, match=reason):
        check_supported(tiny.build(tmp_path))


def test_all_reasons_are_told_at_once(tmp_path: Path) -> None:
    model = TinyModel(normalize="per_feature", conv_context=None, big_blanks=(2, 4)).build(tmp_path)
    with pytest.raises(UnsupportedModelError) as caught:
        check_supported(model)
    assert len(caught.value.reasons) == 3


def test_untrained_attention_context_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"att_context is \[21, 6\]; the encoder was trained with"):
        select_att_context(TinyModel().build(tmp_path), (21, 6))


def test_ctc_model_is_refused(tmp_path: Path) -> None:
    config = OmegaConf.to_container(TinyModel().build(tmp_path).cfg)
    config["decoder"] = {
        "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
        "feat_in": 32,
        "num_classes": 40,
        "vocabulary": config["joint"]["vocabulary"],
    }
    model = EncDecCTCModelBPE(cfg=OmegaConf.create(config))
    with pytest.raises(UnsupportedModelError, match="it is a EncDecCTCModelBPE; only transducers"):
        check_supported(model)


def test_prediction_network_with_a_projection_is_refused(tmp_path: Path) -> None:
    model = TinyModel().build(tmp_path)
    model.decoder.prediction["dec_rnn"].lstm.proj_size = 12
    with pytest.raises(UnsupportedModelError, match="not a plain LSTM"):
        check_supported(model)


def test_refusal_writes_nothing(tmp_path: Path) -> None:
    _, checkpoint = TinyModel(normalize="per_feature").save(tmp_path)
    with pytest.raises(UnsupportedModelError):
        export_checkpoint(checkpoint, Layout(tmp_path / "model-repo"), ServingOptions())
    assert not (tmp_path / "model-repo").exists()


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*absent\.nemo"):
        export_checkpoint(tmp_path / "absent.nemo", Layout(tmp_path), ServingOptions())


def test_graph_of_other_weights_does_not_pass_verification(tmp_path: Path) -> None:
    model, checkpoint = TinyModel().save(tmp_path)
    layout = Layout(tmp_path / "model-repo")
    description, _ = export_checkpoint(checkpoint, layout, ServingOptions())
    model.encoder.layers[1].norm_out.bias.data.add_(0.01)
    select_att_context(model, None)
    with pytest.raises(ArithmeticError, match="differs from NeMo by"):
        verify(model, description, layout)
