"""The precisions that a graph can be built in, and which graph gets which."""

from __future__ import annotations

from enum import Enum


class Precision(str, Enum):
    """Number format of the products. It is written into the ONNX graph: TensorRT 11 has no builder flags for it.

    FP32 lets TensorRT use TF32. INT8 and FP8 are explicit Q/DQ pairs around the products with weights. Graphs in FP8
    are of opset 19, and for GPUs of compute capability 8.9 (Ada, Hopper) or newer.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    FP8 = "fp8"

    @property
    def fused(self) -> bool:
        """Whether ONNX Runtime runs the graph with its quantisers and products fused, as it does where it can."""
        return self is not Precision.FP8

    def of(self, model: str) -> Precision:
        """Return the precision of one model's graph: decoder_joint, small and recurrent, is FP16 beside 8 bits."""
        return Precision.FP16 if self in {Precision.INT8, Precision.FP8} and model == "decoder_joint" else self
