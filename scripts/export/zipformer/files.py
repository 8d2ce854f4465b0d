"""The files of a streaming Zipformer transducer, and what they say about themselves.

`decode_chunk_len`, `T` and `context_size` are metadata that icefall's `export-onnx-streaming.py` writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto

# The states of icefall's zipformer2 by the start of their names: where the batch axis is.
_BATCH_AXES = {
    "cached_key": 1,
    "cached_nonlin_attn": 1,
    "cached_val1": 1,
    "cached_val2": 1,
    "cached_conv1": 0,
    "cached_conv2": 0,
    "embed_states": 0,
    "processed_lens": 0,
}


class UnsupportedZipformerError(ValueError):
    """The files are not a transducer that can be served; the message says why."""


@dataclass(frozen=True)
class State:
    """One state tensor of the encoder, zero at START.

    Attributes:
        name: in our graph; numbered, so that the names and those of the next values (`name` + `_next`) sort alike.
        input_name: in the original graph.
        output_name: of its next value in the original graph.
        dtype: `TensorProto` data type.
        dims: without the batch axis; a state that is one number a row has dims (1,).
        batch_axis: where the original graph has it.
        is_number: whether it is [B] in the original graph.
    """

    name: str
    input_name: str
    output_name: str
    dtype: int
    dims: tuple[int, ...]
    batch_axis: int
    is_number: bool


@dataclass(frozen=True)
class Encoder:
    """The encoder graph and its geometry.

    Attributes:
        model: as it is in the file.
        window_frames: feature frames of a step (`T`).
        chunk_frames: new ones among them (`decode_chunk_len`).
        encoder_frames: frames out of a step.
        n_mels: feature bands.
        encoder_dim: width of the output.
        batch: the batch size, where the graph has a fixed one; None for any.
        is_quantised_by_batch: whether it quantises activations while running, with one scale for the whole batch.
        states: in the order of the inputs.
    """

    model: ModelProto
    window_frames: int
    chunk_frames: int
    encoder_frames: int
    n_mels: int
    encoder_dim: int
    batch: int | None
    is_quantised_by_batch: bool
    states: tuple[State, ...]

    @property
    def metadata(self) -> dict[str, str]:
        """What the exporter wrote into the file."""
        return metadata(self.model)


def metadata(model: ModelProto) -> dict[str, str]:
    """Return the metadata of a graph."""
    return {item.key: item.value for item in model.metadata_props}


def sizes(value: onnx.ValueInfoProto) -> list[int]:
    """Return the sizes of a graph input or output, 0 for one that is not fixed."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def quantises_activations(model: ModelProto) -> bool:
    """Whether the graph computes a scale from the values of a whole tensor, all rows of a batch together."""
    return any(node.op_type == "DynamicQuantizeLinear" for node in model.graph.node)


def find_file(folder: Path, kind: str, *, prefer_int8: bool) -> Path:
    """Return `kind`*.onnx of a folder.

    Args:
        folder: what the model was unpacked to.
        kind: "encoder", "decoder" or "joiner".
        prefer_int8: whether the int8 file is taken where both kinds are there.

    Raises:
        FileNotFoundError: there is none.
        UnsupportedZipformerError: there are several of one kind; the message names them.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found = sorted(folder.glob(f"{kind}*.onnx"))
    if not found:
        raise FileNotFoundError(f"{folder} has no {kind}*.onnx")
    quantised = [path for path in found if path.name.endswith(".int8.onnx")]
    plain = [path for path in found if path not in quantised]
    candidates = (quantised or plain) if prefer_int8 else (plain or quantised)
    if len(candidates) > 1:
        names = ", ".join(path.name for path in candidates)
        raise UnsupportedZipformerError(f"{folder} has several {kind} files ({names}): leave one of them there")
    return candidates[0]


def read_encoder(path: Path) -> Encoder:
    """Read an encoder.

    Raises:
        UnsupportedZipformerError: it is not a streaming zipformer2 of fixed window, or has states nobody knows.
    """
    model = onnx.load(path)
    data = metadata(model)
    if data.get("model_type") != "zipformer2":
        raise UnsupportedZipformerError(
            f"{path.name}: model_type is {data.get('model_type')!r}; only streaming 'zipformer2' is imported"
        )
    if data.get("feature", "") == "whisper":
        raise UnsupportedZipformerError(f"{path.name}: its features are Whisper's; only kaldi fbank is computed")
    features, *states = model.graph.input
    encoded, *next_states = model.graph.output
    batch, window_frames, n_mels = sizes(features)
    _, encoder_frames, encoder_dim = sizes(encoded)
    if 0 in (n_mels, encoder_frames, encoder_dim) or window_frames != int(data["T"]):
        raise UnsupportedZipformerError(
            f"{path.name}: input {features.name} is {sizes(features)} and output {encoded.name} {sizes(encoded)}; "
            f"all sizes but the batch must be fixed, the window {data['T']} frames"
        )
    if batch > 1:
        raise UnsupportedZipformerError(f"{path.name}: its batch is fixed at {batch}; it must be 1 or free")
    return Encoder(
        model=model,
        window_frames=window_frames,
        chunk_frames=int(data["decode_chunk_len"]),
        encoder_frames=encoder_frames,
        n_mels=n_mels,
        encoder_dim=encoder_dim,
        batch=batch or None,
        is_quantised_by_batch=quantises_activations(model),
        states=tuple(_state(index, *pair) for index, pair in enumerate(zip(states, next_states, strict=True))),
    )


def _state(index: int, now: onnx.ValueInfoProto, after: onnx.ValueInfoProto) -> State:
    kind = next((kind for kind in _BATCH_AXES if now.name.startswith(kind)), None)
    if kind is None or after.name != f"new_{now.name}":
        raise UnsupportedZipformerError(f"the encoder takes {now.name!r} and gives {after.name!r}: no known state")
    axis, dtype = _BATCH_AXES[kind], now.type.tensor_type.elem_type
    if dtype not in (TensorProto.FLOAT, TensorProto.INT64):
        raise UnsupportedZipformerError(f"state {now.name!r} has data type {TensorProto.DataType.Name(dtype)}")
    dims = sizes(now)
    del dims[axis]
    if 0 in dims:
        raise UnsupportedZipformerError(f"state {now.name!r} is {sizes(now)}: all sizes but the batch must be fixed")
    return State(
        name=f"state_{index:03}_{now.name}",
        input_name=now.name,
        output_name=after.name,
        dtype=dtype,
        dims=tuple(dims) or (1,),
        batch_axis=axis,
        is_number=not dims,
    )
