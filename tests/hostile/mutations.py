"""Requests gone wrong in every way that the protocol can write down: an honest one, with one to three changes.

Not made here, since Triton 2.51 itself does not survive them: see `test_known_defects.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.hostile.wire import DTYPES, SEQUENCE_MODELS, Call, Tensor, ValueType, honest_calls
from tests.server.streams import CHUNK, new_id

PARAMETERS = [
    *("beam_size", "n_best", "length_normalization", "lm_weight", "phrases", "phrase_weight", "finalize"),
    *("endpointing", "endpoint_silence_ms", "endpoint_no_speech_ms", "endpoint_length_ms", "sample_rate"),
    *("vad_gate", "vad_threshold", "vad_hangover_ms", "vad_other"),
    *("threshold", "min_silence_ms", "min_speech_ms", "pad_ms"),
    *("priority", "timeout", "headers", "binary_data_output"),
]
_MOST_ELEMENTS = 1 << 18
_TEXT = st.text(max_size=40) | st.sampled_from(
    ["x" * 100_000, "😀" * 5000, "\x00", "\u202e", "../../etc/passwd", "%s%n"]
)
_JSON = st.sampled_from(
    [
        "[" * 50_000,
        '{"a":' * 5000,
        r'["\ud800"]',
        '["a", NaN]',
        '[{"text": "a", "weight": 1e999}]',
        "[" + "1" * 9000 + "]",
    ]
)
VALUES: st.SearchStrategy[ValueType] = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(-2, 20)
    | st.floats()
    | _TEXT
    | _JSON
    | st.sampled_from(["nan", "inf", "-0", "1e400", "0x10", "１", "true", "[]", "null"])
)
IDS: st.SearchStrategy[ValueType | None] = (
    st.none()
    | st.sampled_from(["", "0", "5", 0, 5, -1, 2**63 - 1, -(2**63), True, 1.5, "x" * 128, "x" * 129, "x" * 100_000])
    | st.text(max_size=130)
    | st.builds(new_id)
)


def _is_survivable(shape: tuple[int, ...]) -> bool:
    """Whether Triton survives a tensor of that shape: no batch of zero rows, nothing whose size overflows."""
    return math.prod(map(abs, shape)) <= _MOST_ELEMENTS and (not shape or shape[0] != 0)


_SIZES = st.integers(1, 200) | st.sampled_from([0, -1, 7, 8, 64, 65, 66, 80, 129, 144, 192, CHUNK, CHUNK + 1, -(2**63)])
_SHAPES = st.lists(_SIZES, max_size=5).map(tuple).filter(_is_survivable)
_NUMBERS = st.sampled_from([math.nan, math.inf, -math.inf, 3e38, -3e38, 1e-40, 2.0001, 1.0, -1.0, 0.0, 129.0, -1e18])


def _filled(tensor: Tensor, value: float, dtype: str) -> Tensor:
    """A tensor of one number, as far as its data type can hold it."""
    count = max(0, math.prod(tensor.shape)) if all(size >= 0 for size in tensor.shape) else 1
    kind = np.dtype(DTYPES[dtype])
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        value = 0 if math.isnan(value) else int(min(max(value, limits.min), limits.max))
    with np.errstate(over="ignore"):
        return replace(tensor, dtype=dtype, data=np.full(count, value, kind).tobytes())


def _other_dtype(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    dtype = draw(st.sampled_from([*DTYPES, "BYTES", "BOOL", "FP16", "fp32", "", "X" * 5000]))
    return _filled(tensor, 0.0, dtype) if dtype in DTYPES else replace(tensor, dtype=dtype)


def _other_name(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    return replace(tensor, name=draw(_TEXT))


def _other_shape(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    return _filled(replace(tensor, shape=draw(_SHAPES)), 0.0, tensor.dtype)


def _shape_alone(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    return replace(tensor, shape=draw(_SHAPES))


def _other_numbers(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    return _filled(tensor, draw(_NUMBERS), tensor.dtype)


def _one_number(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    size = np.dtype(DTYPES[tensor.dtype]).itemsize
    at = draw(st.integers(0, max(0, len(tensor.data) // size - 1))) * size
    number = _filled(replace(tensor, shape=(1,)), draw(_NUMBERS), tensor.dtype).data
    return replace(tensor, data=(tensor.data[:at] + number + tensor.data[at + size :])[: len(tensor.data)])


def _cut(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    return replace(tensor, data=tensor.data[: draw(st.integers(0, len(tensor.data)))])


def _longer(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    return replace(tensor, data=tensor.data + b"\x7f" * draw(st.integers(1, 10_000)))


_TENSOR_CHANGES = [
    _other_dtype,
    _other_name,
    _other_shape,
    _shape_alone,
    _other_numbers,
    _one_number,
    _cut,
    _longer,
]


def _change_input(draw: st.DrawFn, call: Call) -> Call:
    if not call.inputs:
        return call
    at = draw(st.integers(0, len(call.inputs) - 1))
    tensor = call.inputs[at]
    changes = _TENSOR_CHANGES if tensor.dtype in DTYPES else [_cut]
    changed = draw(st.sampled_from(changes))(draw, tensor)
    return replace(call, inputs=(*call.inputs[:at], changed, *call.inputs[at + 1 :]))


def _count_inputs(draw: st.DrawFn, call: Call) -> Call:
    how = draw(st.sampled_from(["none", "twice", "one less", "one more", "data"]))
    inputs = call.inputs
    if how == "data":
        return replace(call, extra_data=tuple(draw(st.lists(st.binary(max_size=100), min_size=1, max_size=50))))
    if how == "one more":
        return replace(call, inputs=(*inputs, Tensor.of(draw(_TEXT), np.zeros((1, 1)))))
    return replace(call, inputs={"none": (), "twice": inputs * 2, "one less": inputs[1:]}[how])


def _change_parameters(draw: st.DrawFn, call: Call) -> Call:
    names = st.sampled_from(PARAMETERS) | st.text(max_size=20).filter(lambda name: not name.startswith("sequence_"))
    return replace(call, parameters=tuple(draw(st.dictionaries(names, VALUES, min_size=1, max_size=4)).items()))


def _change_sequence(draw: st.DrawFn, call: Call) -> Call:
    return replace(call, sequence_id=draw(IDS), start=draw(st.booleans()), end=draw(st.booleans()))


def _change_outputs(draw: st.DrawFn, call: Call) -> Call:
    names = st.sampled_from(["TRANSCRIPT", "TOKENS", "ENCODED", "LABEL", "LOG_PROBS", "FEATURES"]) | _TEXT
    return replace(call, outputs=tuple(draw(st.lists(names, max_size=5))))


def _change_model(draw: st.DrawFn, call: Call) -> Call:
    if draw(st.booleans()):
        return replace(call, version=draw(st.sampled_from(["0", "2", "-1", "9" * 40, "one"])))
    return replace(call, model=draw(st.sampled_from([*honest_calls(""), "", "../vad"]) | _TEXT))


_CHANGES: list[Callable[[st.DrawFn, Call], Call]] = [
    _change_input,
    _change_input,
    _change_input,
    _count_inputs,
    _change_parameters,
    _change_parameters,
    _change_sequence,
    _change_outputs,
    _change_model,
]


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """An honest request of any model, with one to three changes."""
    honest = honest_calls(new_id())
    call = honest[draw(st.sampled_from(sorted(honest)))]
    for change in draw(st.lists(st.sampled_from(_CHANGES), min_size=1, max_size=3)):
        call = change(draw, call)
    return call


def is_sequence(call: Call) -> bool:
    """Whether a request may leave a sequence behind."""
    return call.model in SEQUENCE_MODELS and call.start and not call.end
