"""A graph with FP8 (E4M3) Q/DQ pairs around the products with weights, calibrated like INT8: the largest value is 448.

ONNX Runtime's quantiser makes an INT8 graph of the calibrated ranges; the pairs are then rewritten, as NVIDIA's Model
Optimizer does. Its own scales for FP8 come from the standard deviation and cut off what the encoders need: with them
the error was a third of the output. Scales are for whole tensors, and results of products stay as they are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from scripts.engines.int8 import quantise
from scripts.export.onnx_runner import Arrays

OPSET = 19  # the first with FP8 in QuantizeLinear
_LARGEST_INT8, _LARGEST_FP8 = 127.0, 448.0


def to_fp8(graph: Path, steps: Iterable[Arrays]) -> onnx.ModelProto:
    """Quantise the products with weights. Products of two activations, convolutions and all else stay FP32.

    Args:
        graph: the FP32 file.
        steps: inputs of real calls, states included.

    Raises:
        ValueError: there are no steps to calibrate on.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "newer.onnx"
        model = version_converter.convert_version(onnx.load(graph), OPSET)
        onnx.save(model, source)
        # The tensors that FP8 keeps in FP32: what a product gives, and its weights until they are cast here.
        quantised = quantise(source, steps, per_channel=False, outputs=False)
    weights = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    _rewrite(quantised, weights)
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def _rewrite(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    """Replace the INT8 of every Q/DQ pair: scales, zero points, and the weights, cast anew from FP32."""
    constants = {item.name: item for item in model.graph.initializer}
    scales: dict[str, float] = {}
    for node in model.graph.node:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        data, scale, zero_point = node.input
        if scale not in scales:
            scales[scale] = numpy_helper.to_array(constants[scale]).item() * _LARGEST_INT8 / _LARGEST_FP8
            constants[scale].CopyFrom(numpy_helper.from_array(np.array(scales[scale], np.float32), scale))
        constants[zero_point].CopyFrom(helper.make_tensor(zero_point, TensorProto.FLOAT8E4M3FN, [], [0.0]))
        if data in constants:
            weight = weights[data.removesuffix("_quantized")]
            cast = (weight / scales[scale]).astype(ml_dtypes.float8_e4m3fn)
            constants[data].CopyFrom(
                helper.make_tensor(data, TensorProto.FLOAT8E4M3FN, weight.shape, cast.tobytes(), raw=True)
            )
