"""What the servers can run, and the reason for everything they cannot. All reasons are reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nemo.collections.asr.models import ASRModel, EncDecRNNTBPEModel
from nemo.collections.asr.modules import (
    AudioToMelSpectrogramPreprocessor,
    ConformerEncoder,
    RNNTDecoder,
    RNNTJoint,
    StatelessTransducerDecoder,
)
from nemo.collections.asr.parts.submodules.subsampling import ConvSubsampling
from nemo.collections.common.parts.rnn import LSTMDropout
from nemo.collections.common.tokenizers import SentencePieceTokenizer
from nemo.core.classes.mixins import AdapterModuleMixin

# Names NeMo's `normalize_batch` leaves the features alone for.
_NO_NORMALISATION = (None, "", "NA", "None", "none")


class UnsupportedModelError(ValueError):
    """A checkpoint that cannot be served. `reasons` has one sentence for each cause."""

    def __init__(self, reasons: list[str]) -> None:
        """Keep the reasons and join them to one message."""
        super().__init__("this checkpoint cannot be served:\n" + "\n".join(f"- {reason}" for reason in reasons))
        self.reasons = reasons


def check_supported(model: ASRModel) -> None:
    """Raise UnsupportedModelError with every reason why a model, its attention context set, cannot be served."""
    # The parts of another kind of model need not even exist.
    reasons = list(_model_reasons(model))
    if not reasons:
        reasons = [
            *_preprocessor_reasons(model.preprocessor),
            *_encoder_reasons(model.encoder),
            *_transducer_reasons(model.decoder, model.joint, durations_of(model)),
        ]
    if reasons:
        raise UnsupportedModelError(reasons)


def _model_reasons(model: ASRModel) -> Iterator[str]:
    if not isinstance(model, EncDecRNNTBPEModel):
        yield f"it is a {type(model).__name__}; only transducers with a BPE vocabulary (EncDecRNNTBPEModel) are served"
        return
    if not isinstance(model.tokenizer, SentencePieceTokenizer):
        yield f"its tokenizer is a {type(model.tokenizer).__name__}; text is rebuilt from SentencePiece pieces only"
    if hasattr(model, "prompt_kernel"):
        yield "its encoder output is conditioned on a prompt, which the graphs do not take"
    if any(isinstance(module, AdapterModuleMixin) and module.is_adapter_available() for module in model.modules()):
        yield "it has adapters, which the graphs leave out"


def _preprocessor_reasons(preprocessor: Any) -> Iterator[str]:
    if type(preprocessor) is not AudioToMelSpectrogramPreprocessor:
        yield f"its preprocessor is {type(preprocessor).__name__}; only AudioToMelSpectrogramPreprocessor is served"
        return
    featurizer = preprocessor.featurizer
    if featurizer.normalize not in _NO_NORMALISATION:
        yield (
            f"its features are normalised ({featurizer.normalize!r}) with statistics of the whole utterance, which a "
            "stream does not have; train with normalize: NA"
        )
    wanted = {
        "frame_splicing": 1,
        "log": True,
        "log_zero_guard_type": "add",
        "mag_power": 2.0,
        "exact_pad": False,
    }
    for name, value in wanted.items():
        actual = getattr(featurizer, name)
        if actual != value:
            yield f"its preprocessor has {name} {actual!r}; the front end computes {value!r} only"
    if featurizer.window is None:
        yield "its preprocessor has no analysis window (window: none)"
    if featurizer.win_length % 2 or featurizer.win_length > featurizer.n_fft:
        yield f"its window has {featurizer.win_length} samples; an even number up to n_fft {featurizer.n_fft} is needed"


def _encoder_reasons(encoder: Any) -> Iterator[str]:
    if type(encoder) is not ConformerEncoder:
        yield f"its encoder is {type(encoder).__name__}; only the cache-aware ConformerEncoder is served"
        return
    left, right = encoder.att_context_size[0], encoder.att_context_size[1]
    if left < 1 or right < 0:
        yield f"its attention context is [{left}, {right}]; streaming needs a limited left and right one"
    elif encoder.att_context_style == "regular" and right > 0:
        yield (
            f"its attention style is regular with right context {right}: the look-ahead grows with every layer; "
            "train with att_context_style: chunked_limited"
        )
    if encoder.att_context_style not in ("chunked_limited", "regular"):
        yield f"its attention style is {encoder.att_context_style}; only chunked_limited is served"
    if encoder.self_attention_model != "rel_pos":
        yield f"its attention model is {encoder.self_attention_model}; only rel_pos is served"
    subsampling = encoder.pre_encode
    if not isinstance(subsampling, ConvSubsampling) or not subsampling.conv2d_subsampling or not subsampling.is_causal:
        yield "its subsampling is not causal (needs subsampling dw_striding or striding, causal_downsampling: true)"
    if encoder.conv_context_size[1] != 0:
        yield f"its convolutions look {encoder.conv_context_size[1]} frames ahead; train with conv_context_size: causal"
    if encoder.reduction_position is not None:
        yield f"it reduces its frame rate after layer {encoder.reduction_position}, which has no cache"


def durations_of(model: ASRModel) -> tuple[int, ...]:
    """Return the durations of a token-and-duration transducer (TDT); empty for any other model."""
    return tuple(int(duration) for duration in model.cfg.decoding.get("durations") or ())


def _transducer_reasons(decoder: Any, joint: Any, durations: tuple[int, ...]) -> Iterator[str]:
    if isinstance(decoder, StatelessTransducerDecoder):
        yield "its prediction network is stateless (StatelessTransducerDecoder); only LSTM ones are served"
    elif type(decoder) is not RNNTDecoder:
        yield f"its prediction network is {type(decoder).__name__}; only RNNTDecoder is served"
    else:
        network = decoder.prediction["dec_rnn"]
        if not isinstance(network, LSTMDropout) or network.lstm.proj_size:
            yield "its prediction network is not a plain LSTM (normalization_mode or rnn_hidden_size is set)"
        if not decoder.blank_as_pad:
            yield "its prediction network has no embedding for the blank (blank_as_pad: false)"
    if type(joint) is not RNNTJoint:
        yield f"its joint is {type(joint).__name__}; only RNNTJoint is served"
        return
    if joint.num_extra_outputs != len(durations):
        yield (
            f"its joint has {joint.num_extra_outputs} outputs besides labels and blank, its decoding {len(durations)} "
            "durations; only plain and token-and-duration transducers (TDT) are served, no multi-blank ones"
        )
