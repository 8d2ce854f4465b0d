"""ONNX Runtime's execution providers: which ones an execution takes, and with what options.

Options: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and, for TensorRT's,
https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnxruntime

from onnx_sequence.caches import StateTensor
from onnx_sequence.runner import Execution
from onnx_sequence.shape_ranges import ShapeRange
from onnx_sequence.slotted_graph import FRESH, POOL_OPERATORS, inner_names

Options = dict[str, str]
Providers = list[tuple[str, Options]]

_CUDA, _TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
_NEEDED = {"cpu": ["CPUExecutionProvider"], "cuda": [_CUDA], "tensorrt": [_TENSORRT, _CUDA]}
_WHAT = {
    "cuda": "install onnxruntime-gpu instead of onnxruntime",
    "tensorrt": "install onnxruntime-gpu instead of onnxruntime, and the TensorRT that it wants",
}


def find_providers(execution: Execution) -> list[str]:
    """Return the names of the providers, the first to be asked first; what they need of CUDA is loaded then.

    Raises:
        RuntimeError: this ONNX Runtime is built without one of them.
    """
    available = onnxruntime.get_available_providers()
    for provider in _NEEDED[execution.device]:
        if provider not in available:
            raise RuntimeError(
                f"execution onnxruntime:{execution.device}: this onnxruntime ({onnxruntime.__version__}) has "
                f"{', '.join(available)} and not {provider}; {_WHAT.get(execution.device, '')}"
            )
    if execution.device != "cpu":
        onnxruntime.preload_dlls()  # of the wheels of CUDA and cuDNN, where no loader looks
    return _NEEDED[execution.device]


def provider_options(execution: Execution) -> Options:
    """Return the options of every provider but TensorRT's, which takes `tensorrt_options`.

    Batches are as many as there are streams to share them, and a default provider looks for the best convolution by
    trying all, for each of them anew, while they wait (onnxruntime issues 6978, 19838).
    """
    if execution.device == "cpu":
        return {}
    return {"device_id": str(execution.index), "cudnn_conv_algo_search": "HEURISTIC"}


def has_loops(graph: onnx.GraphProto) -> bool:
    """Whether a graph has loops or branches. CUDA's provider runs them; TensorRT would get their bodies in pieces."""
    return any(node.op_type in {"Loop", "Scan", "If"} for node in graph.node)


def is_half(graph: onnx.GraphProto) -> bool:
    """Whether a graph computes in FP16."""
    return any(item.data_type == onnx.TensorProto.FLOAT16 for item in graph.initializer)


def tensorrt_options(
    execution: Execution,
    ranges: Mapping[str, ShapeRange],
    states: Sequence[StateTensor],
    *,
    half: bool,
    engines: Path,
) -> Options:
    """Return the options of TensorRT's provider.

    Args:
        execution: which GPU.
        ranges: shapes of the graph's inputs and states (`shape_ranges.shape_ranges`).
        states: of the model.
        half: whether the graph is in FP16. The provider knows no strongly typed graphs: TensorRT may then compute in
            FP16 what the graph says is FP32, but for the normalisations.
        engines: folder for engines and timings, kept from one start to the next.
    """
    shapes = dict(ranges)
    for state in states:
        # What the pools give is gathered outside of TensorRT, whose part of the graph begins behind it.
        shapes |= dict.fromkeys(inner_names(state), shapes[state.input_name])
    if states:
        batch = next(iter(ranges.values()))
        shapes[FRESH] = ShapeRange(batch.least[:1], batch.usual[:1], batch.largest[:1])
    options = {
        "device_id": str(execution.index),
        "trt_fp16_enable": str(int(half)),
        "trt_layer_norm_fp32_fallback": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(engines),
        "trt_profile_min_shapes": _profile({name: item.least for name, item in shapes.items()}),
        "trt_profile_opt_shapes": _profile({name: item.usual for name, item in shapes.items()}),
        "trt_profile_max_shapes": _profile({name: item.largest for name, item in shapes.items()}),
    }
    if states:
        # CUDA's provider changes the pools in place; in an engine they would be copied, or be read while written.
        options["trt_op_types_to_exclude"] = ",".join(POOL_OPERATORS)
    return options


def engine_folder(graph: Path) -> Path:
    """Return where the engines of a graph are kept: beside its version folder, where `make engines` keeps its own.

    Raises:
        RuntimeError: nobody may write there.
    """
    folder = graph.resolve().parents[1] / "engines" / "onnxruntime"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".write").touch()
        (folder / ".write").unlink()
    except OSError as error:
        raise RuntimeError(f"execution onnxruntime:tensorrt keeps its engines in {folder}: {error}") from error
    return folder


def _profile(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
