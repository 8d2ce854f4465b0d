"""A graph in INT8: explicit Q/DQ pairs, symmetric, weights per channel, activations calibrated on real features."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from scripts.export.onnx_runner import Arrays

_PRODUCTS = ["MatMul", "Gemm"]


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
    return quantise(graph, steps, per_channel=True, outputs=True)


def quantise(graph: Path, steps: Iterable[Arrays], *, per_channel: bool, outputs: bool) -> onnx.ModelProto:
    """As `to_int8`, with scales for each channel of the weights or for all, and what products give quantised or not.

    The small products with a matrix for each head (scripts/export/attention.py) stay FP32: ONNX Runtime's integer
    product has scales for the columns of one matrix only.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        quantize_static(
            graph,
            target,
            _Steps(steps),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_PRODUCTS,
            nodes_to_exclude=_products_by_head(graph),
            per_channel=per_channel,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                # What TensorRT takes: zero points of 0, no integer bias.
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "MatMulConstBOnly": True,
                "OpTypesToExcludeOutputQuantization": [] if outputs else _PRODUCTS,
            },
        )
        return onnx.load(target)


def _products_by_head(path: Path) -> list[str]:
    """Return the names of the products whose weights are more than one matrix."""
    graph = onnx.load(path).graph
    stacks = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 2}
    return [node.name for node in graph.node if node.op_type in _PRODUCTS and stacks.intersection(node.input)]
