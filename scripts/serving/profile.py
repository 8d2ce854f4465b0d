"""Whether a repository has what a profile loads: said before Triton starts, with what makes it."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

_MADE_BY = {".plan": "make engines", ".onnx": "make export"}


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
