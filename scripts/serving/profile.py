"""Whether a repository has what a profile loads: said before Triton starts, with what makes it."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

_PROCESSOR, _FULL = "cpu", "fp32"
_MADE_BY = {".plan": "make engines", ".onnx": "make export"}


def check_graphs(model_repo: Path, precision: str, execution: str, profile: str) -> None:
    """Look for the graphs of a precision, and whether the choice of who runs them is one.

    Args:
        model_repo: a model repository.
        precision: "fp32" or "fp16".
        execution: as `onnx_sequence/runner.py` has it.
        profile: as `check_profile` has it.

    Raises:
        ValueError: a profile and an execution are chosen, or a profile and a precision.
        FileNotFoundError: a graph is missing.
    """
    if profile and (execution, precision) != (_PROCESSOR, _FULL):
        raise ValueError(
            f"profile is {profile!r}, execution {execution!r}, precision {precision!r}: a profile runs its graphs in "
            "Triton's own backends; choose a profile, or execution and precision"
        )
    if precision == _FULL:
        return
    for path in sorted(model_repo.glob("*/1/model.onnx")):
        config = text_format.Parse((path.parents[1] / "config.pbtxt").read_text(encoding="utf-8"), pb.ModelConfig())
        graph = path.with_name(f"model.{precision}.onnx")
        if config.backend == "onnx_sequence" and not graph.exists():
            raise FileNotFoundError(
                f"precision {precision!r} needs {graph}, which is missing: `make graphs PRECISION={precision}` makes it"
            )


def check_batches(max_batch_size: int | None, profile: str) -> None:
    """Raise ValueError when the batches that were asked for are not those of the engines."""
    if max_batch_size is not None and profile == "tensorrt":
        raise ValueError(
            f"max_batch_size is {max_batch_size}, profile 'tensorrt': engines are built for the batches that the model "
            "repository says; export with --max-batch-size, then `make engines`"
        )


def check_profile(model_repo: Path, profile: str) -> None:
    """Look for the graphs that the configurations of a profile name.

    Args:
        model_repo: a model repository.
        profile: "tensorrt", "onnxruntime", or empty for the CPU's.

    Raises:
        FileNotFoundError: the repository has no such profile, or a graph of it is missing.
    """
    if not profile:
        return
    configs = sorted(model_repo.glob(f"*/configs/{profile}.pbtxt"))
    if not configs:
        raise FileNotFoundError(
            f"{model_repo} has no models for the profile {profile!r} (no */configs/{profile}.pbtxt)"
        )
    for path in configs:
        config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
        graph = path.parents[1] / "1" / config.default_model_filename
        if not graph.exists():  # false for a link that leads nowhere, too
            raise FileNotFoundError(
                f"the profile {profile!r} needs {graph}, which is missing: `{_MADE_BY[graph.suffix]}` makes it"
            )
