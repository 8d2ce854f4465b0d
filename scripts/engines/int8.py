"""A graph in INT8: explicit Q/DQ pairs, symmetric, weights per channel, activations calibrated on real features."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from scripts.export.onnx_runner import Arrays


class _Steps(CalibrationDataReader):  # type: ignore[misc]
    """Inputs of one call after another, as ONNX Runtime's calibrator takes them."""

    def __init__(self, steps: Iterable[Arrays]) -> None:
        self._steps: Iterator[Arrays] = iter(steps)

    def get_next(self) -> Arrays | None:
        """Return the next inputs, None at the end."""
        return next(self._steps, None)


def to_int8(graph: Path, steps: Iterable[Arrays]) -> onnx.ModelProto:
    """Quantise the products with weights. Products of two activations, convolutions and all else stay FP32.

    Args:
        graph: the FP32 file.
        steps: inputs of real calls, states included.

    Raises:
        ValueError: there are no steps to calibrate on.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        quantize_static(
            graph,
            target,
            _Steps(steps),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                # What TensorRT takes: zero points of 0, no integer bias.
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "MatMulConstBOnly": True,
            },
        )
        return onnx.load(target)
