"""The runner that a model's configuration asks for, or an error that says what is missing for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.parameters import ModelConfig
from onnx_sequence.caches import StateTensor
from onnx_sequence.runner import CPU, CpuRunner, Execution, Runner
from onnx_sequence.session import OnnxSession
from onnx_sequence.shape_ranges import ShapeRange, shape_ranges

FULL = "fp32"
# Where the configuration does not say how many sequences a later step may have.
_SLOTS = 1024


def graph_path(folder: Path, precision: str) -> Path:
    """Return the graph of a precision in a version folder. Raises FileNotFoundError when it is not there."""
    path = folder / ("model.onnx" if precision == FULL else f"model.{precision}.onnx")
    if not path.exists():
        raise FileNotFoundError(f"precision {precision!r} needs {path}, which is missing: `make graphs` writes it")
    return path


def open_runner(config: ModelConfig, folder: Path, states: Sequence[StateTensor]) -> Runner:
    """Load a graph where parameter `execution` says, in the precision that parameter `precision` says.

    Args:
        config: of the model; without the parameters `execution` and `precision` it is the processor, in FP32.
        folder: version folder.
        states: of the model; empty for a stateless one.

    Raises:
        ValueError: a parameter is out of range, or the graph has an operator that torch does not run here.
        FileNotFoundError: there is no graph of that precision.
        RuntimeError: the GPU, or the package that uses it, is not there.
    """
    execution = Execution.parse(config.optional_text("execution") or CPU)
    path = graph_path(folder, config.optional_text("precision") or FULL)
    threads = config.integer("intra_op_threads", 1)
    spinning = config.text("allow_spinning", ("0", "1")) == "1"
    # One more for the request that asks whether the server is well, which no limit counts.
    slots = 1 + (config.later_step_capacity or _SLOTS) if states else 0
    ranges = shape_ranges(config, states) if execution.device == "tensorrt" else None
    return load_runner(path, execution, states, slots=slots, threads=threads, spinning=spinning, ranges=ranges)


def load_runner(
    path: Path,
    execution: Execution,
    states: Sequence[StateTensor],
    *,
    slots: int,
    threads: int,
    spinning: bool = False,
    ranges: Mapping[str, ShapeRange] | None = None,
) -> Runner:
    """Load a graph with so many cache slots, as `open_runner`; threads that spin are for `cpu` alone.

    `ranges` are for TensorRT alone (`shape_ranges.shape_ranges`).
    """
    if execution.plain:
        return CpuRunner(OnnxSession(path, intra_op_threads=threads, allow_spinning=spinning), states)
    # Imported when chosen: torch and onnx are no part of a server that runs on a processor.
    try:
        if execution.engine == "torch":
            import onnx  # noqa: PLC0415

            from onnx_sequence.loop_parts import loop_of  # noqa: PLC0415
            from onnx_sequence.torch_runner import TorchRunner  # noqa: PLC0415
            from onnx_sequence.torch_search import TorchSearch  # noqa: PLC0415
        else:
            from onnx_sequence.bound_runner import BoundRunner  # noqa: PLC0415
    except ImportError as error:
        raise RuntimeError(
            f"execution {execution.engine}:{execution.device} needs a package that is not installed ({error}): "
            f"pip install 'amira-asr[{execution.engine}]'"
        ) from error
    if execution.engine == "torch":
        if not states and loop_of(onnx.load(path, load_external_data=False).graph) is not None:
            return TorchSearch(path, execution, threads=threads)
        return TorchRunner(path, execution, states, slots=slots, threads=threads)
    return BoundRunner(path, execution, states, slots=slots, threads=threads, ranges=ranges)
