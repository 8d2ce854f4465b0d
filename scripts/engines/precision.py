"""The precisions that a graph can be built in, and which graph gets which."""

from __future__ import annotations

from enum import Enum


class Precision(str, Enum):
    """Number format of the products. It is written into the ONNX graph: TensorRT 11 has no builder flags for it.

    FP32 lets TensorRT use TF32. INT8 are explicit Q/DQ pairs around the products with weights. There is no FP8: its
    Q/DQ operators need opset 19, and the exported graphs are opset 17.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"

    def of(self, model: str) -> Precision:
        """Return the precision of one model's graph: decoder_joint, small and recurrent, is FP16 beside INT8."""
        return Precision.FP16 if self is Precision.INT8 and model == "decoder_joint" else self
