"""Which models of a staged repository work together, read from its configurations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

# Parameters of a decoder that name models.
CALLED = ("decoder_joint_model", "decoder_greedy_model")


@dataclass(frozen=True)
class Pipeline:
    """An ensemble and what it runs.

    Attributes:
        ensemble: its name.
        steps: its models, in the order of the work.
        called: the models that the last step calls.
        idle_secs: after which a silent sequence is forgotten; None where every request is a whole utterance.
    """

    ensemble: str
    steps: tuple[str, ...]
    called: tuple[str, ...]
    idle_secs: float | None

    @property
    def models(self) -> tuple[str, ...]:
        """Steps, and what the last one calls."""
        return (*self.steps, *self.called)


def read_config(repository: Path, model: str) -> pb.ModelConfig:
    """Return the configuration of a staged model. Raises FileNotFoundError when there is none."""
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), pb.ModelConfig())


def read_pipeline(repository: Path, ensemble: str) -> Pipeline:
    """Return the pipeline of an ensemble. Raises FileNotFoundError when there is no such model."""
    steps = tuple(step.model_name for step in read_config(repository, ensemble).ensemble_scheduling.step)
    first, last = read_config(repository, steps[0]), read_config(repository, steps[-1])
    idle = first.sequence_batching.max_sequence_idle_microseconds / 1e6
    streaming = first.HasField("sequence_batching")
    called = tuple(last.parameters[key].string_value for key in CALLED if key in last.parameters)
    return Pipeline(ensemble, steps, called, idle if streaming else None)


def read_pipelines(repository: Path) -> list[Pipeline]:
    """Return every pipeline of a staged repository."""
    models = sorted(path.parent.name for path in repository.glob("*/config.pbtxt"))
    return [
        read_pipeline(repository, model)
        for model in models
        if read_config(repository, model).HasField("ensemble_scheduling")
    ]
