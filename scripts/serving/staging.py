"""A model repository with the operator's settings written into it.

Triton has no way to override a value of `config.pbtxt` from outside, so the repository is staged: a copy whose
configuration files carry the settings, and whose weights are links to the original. Backends then read one source.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from scripts.serving.limits import NO_LIMITS, Limits, apply_limits
from scripts.serving.pipelines import CALLED, read_config, read_pipelines

# A sequence waits silently for a free candidate place, so the preprocessor must refuse long before they run out.
_CANDIDATES_PER_STREAM = 4
_DECODER, _GREEDY = "rnnt_decoder", "decoder_greedy"
_FIRST, _GRAPHS = "log_mel", "onnx_sequence"
# One is enough: it knows nothing of recognisers, and the preprocessors look for its graph under this name.
_SHARED = "vad"


@dataclass(frozen=True)
class RepositorySettings:
    """What a deployment may change without a new export. None keeps the value of the repository.

    Attributes:
        max_concurrent_streams: streams admitted at once.
        max_batch_audio_secs: longest utterance of `asr_batch`, seconds.
        max_symbols_per_step: most labels on one encoder frame.
        max_total_tokens: most tokens of one hypothesis.
        stream_timeout_secs: a sequence idle for longer is dropped, seconds.
        vocabulary: file with one piece a line, replacing the repository's.
        joint: who runs `decoder_joint` for the decoder: "model" by BLS, or "local" the decoder itself.
        execution: who runs the graphs of `onnx_sequence`, and where (onnx_sequence/runner.py).
        features_execution: who computes the features of `log_mel` (log_mel/opening.py).
        precision: of these graphs.
        greedy_graph: whether there may be `decoder_greedy`; not in a GPU profile.
        max_batch_size: most streams to a batch of the streaming models.
        batch_window_ms: how long a chunk waits at the first step for others to share its batch, milliseconds. None: 1
            ms, and the step rests after small batches (log_mel/batch_pacing.py).
        max_beam_size: largest beam that a stream may ask for.
        language_model: ARPA or KenLM file over the pieces of the vocabulary.
        source_language_model: low-order model of the training text, subtracted from `language_model`.
        lm_weight: its weight in streams that do not say; needed with `language_model`.
        model_names: new names of models; the `_batch` twin of a renamed model is renamed alike.
        prefix: put before the name of every model, so that several recognisers fit into one repository.
        limits: of what is admitted.
        copy_files: copy weights instead of linking to them, so that nobody changes those of a running server.
    """

    max_concurrent_streams: int | None = None
    max_batch_audio_secs: float | None = None
    max_symbols_per_step: int | None = None
    max_total_tokens: int | None = None
    stream_timeout_secs: float | None = None
    vocabulary: Path | None = None
    joint: str | None = None
    execution: str | None = None
    features_execution: str | None = None
    precision: str | None = None
    greedy_graph: bool = True
    max_batch_size: int | None = None
    batch_window_ms: float | None = None
    max_beam_size: int | None = None
    language_model: Path | None = None
    source_language_model: Path | None = None
    lm_weight: float | None = None
    model_names: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    limits: Limits = NO_LIMITS
    copy_files: bool = False


def stage_repository(source: Path, target: Path, settings: RepositorySettings) -> None:
    """Write to `target` the repository at `source` with the settings applied, and nothing else. As `add_repository`."""
    check_repository(source, settings)
    shutil.rmtree(target, ignore_errors=True)
    add_repository(source, target, settings)


def check_repository(source: Path, settings: RepositorySettings) -> list[Path]:
    """Return the folders of the models in `source`. Raises FileNotFoundError as `add_repository`."""
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such folder")
    models = sorted(path.parent for path in source.glob("*/config.pbtxt"))
    if not models:
        raise FileNotFoundError(f"{source} has no models (no */config.pbtxt): run `make export NEMO=file.nemo`")
    files = {
        "vocabulary file": settings.vocabulary,
        "language model": settings.language_model,
        "source language model": settings.source_language_model,
    }
    for name, file in files.items():
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"{name} {file} does not exist")
    return models


def add_repository(source: Path, target: Path, settings: RepositorySettings) -> None:
    """Write the repository at `source`, with the settings applied, to `target`, beside what is there.

    Raises:
        FileNotFoundError: `source` has no model, or the vocabulary or language model is missing.
        FileExistsError: `target` has a model of one of these names.
    """
    models = check_repository(source, settings)
    names = dict(settings.model_names)
    names |= {f"{old}_batch": f"{new}_batch" for old, new in settings.model_names}
    renames = {model.name: settings.prefix + names.get(model.name, model.name) for model in models}
    renames[_SHARED] = _SHARED
    for model in models:
        folder = target / renames[model.name]
        if (model.name == _SHARED and folder.exists()) or (model.name == _GREEDY and not settings.greedy_graph):
            continue
        if folder.exists():
            raise FileExistsError(f"two models would be named {folder.name!r}: rename one, or its recogniser")
        folder.mkdir(parents=True)
        for config_file in [model / "config.pbtxt", *sorted((model / "configs").glob("*.pbtxt"))]:
            config = text_format.Parse(config_file.read_text(), pb.ModelConfig())
            apply(config, settings, renames)
            staged = folder / config_file.relative_to(model)
            staged.parent.mkdir(exist_ok=True)
            staged.write_text(text_format.MessageToString(config))
        for version in (item for item in model.iterdir() if item.is_dir() and item.name.isdigit()):
            _stage_version(version, folder / version.name, settings)
    _introduce(target)


def _introduce(repository: Path) -> None:
    """Let every ensemble name all of them, for clients: Triton's own index of models is not for everybody.

    Versions that `make switch` has put beside others are not named: clients find them through those.
    """
    ensembles = [item.ensemble for item in read_pipelines(repository)]
    names = ",".join(name for name in ensembles if not re.search(r"(^|\.)v\d+\.", name))
    for ensemble in ensembles:
        config = read_config(repository, ensemble)
        config.parameters["recognisers"].string_value = names
        (repository / ensemble / "config.pbtxt").write_text(text_format.MessageToString(config))


def apply(config: pb.ModelConfig, settings: RepositorySettings, renames: dict[str, str]) -> None:
    """Change one model's configuration in place."""
    apply_limits(config, settings.limits, pipeline=f"{settings.prefix}batch")
    config.name = renames.get(config.name, config.name)
    if settings.language_model is not None and config.backend == _DECODER:
        config.parameters["language_model"].string_value = str(settings.language_model.resolve())
        config.parameters["lm_weight"].string_value = ""
        if settings.source_language_model is not None:
            config.parameters["source_language_model"].string_value = str(settings.source_language_model.resolve())
    for step in config.ensemble_scheduling.step:
        step.model_name = renames.get(step.model_name, step.model_name)
    values = {
        "max_concurrent_streams": settings.max_concurrent_streams,
        "max_audio_secs": settings.max_batch_audio_secs,
        "max_symbols_per_step": settings.max_symbols_per_step,
        "max_total_tokens": settings.max_total_tokens,
        "joint": settings.joint,
        "max_beam_size": settings.max_beam_size,
        "lm_weight": settings.lm_weight,
    }
    for key, value in values.items():
        if value is not None and key in config.parameters:
            config.parameters[key].string_value = f"{value:g}" if isinstance(value, float) else str(value)
    _choose_execution(config, settings)
    _choose_batches(config, settings.max_batch_size)
    _rename_called(config, settings, renames)
    if config.HasField("sequence_batching"):
        batching = config.sequence_batching
        if settings.stream_timeout_secs is not None:
            batching.max_sequence_idle_microseconds = round(settings.stream_timeout_secs * 1e6)
        if settings.batch_window_ms is not None and config.backend == _FIRST:
            batching.oldest.max_queue_delay_microseconds = round(settings.batch_window_ms * 1e3)
            config.parameters["batch_rest_ms"].string_value = "0"  # exactly this long, and not longer
        if settings.max_concurrent_streams is not None:
            enough = settings.max_concurrent_streams * _CANDIDATES_PER_STREAM
            batching.oldest.max_candidate_sequences = max(batching.oldest.max_candidate_sequences, enough)


def _choose_execution(config: pb.ModelConfig, settings: RepositorySettings) -> None:
    """Say who runs a graph, and who computes features. Repositories need not have these parameters."""
    if config.backend == _FIRST and settings.features_execution is not None:
        config.parameters["execution"].string_value = settings.features_execution
    if config.backend == _GRAPHS:
        for key, value in (("execution", settings.execution), ("precision", settings.precision)):
            if value is not None:
                config.parameters[key].string_value = value


def _choose_batches(config: pb.ModelConfig, streams: int | None) -> None:
    """Let so many streams share a batch of the streaming models, and the joint have room for all of them."""
    if streams is None:
        return
    if config.HasField("sequence_batching"):
        config.max_batch_size = streams
    elif config.platform == "ensemble":  # no larger than its steps
        config.max_batch_size = min(config.max_batch_size, streams)
    elif config.backend == _GRAPHS and "labels" in config.parameters:
        config.max_batch_size = max(config.max_batch_size, streams)
    if "joint_max_batch_size" in config.parameters:
        room = config.parameters["joint_max_batch_size"]
        room.string_value = str(max(int(room.string_value), streams))


def _rename_called(config: pb.ModelConfig, settings: RepositorySettings, renames: dict[str, str]) -> None:
    """Let a decoder call the models by their new names, and `decoder_greedy` only where there is one."""
    if not settings.greedy_graph:
        config.parameters.pop("decoder_greedy_model", None)
    for key in CALLED:
        if key in config.parameters:
            called = config.parameters[key]
            called.string_value = renames.get(called.string_value, called.string_value)


def _stage_version(version: Path, folder: Path, settings: RepositorySettings) -> None:
    folder.mkdir()
    files = [item for item in version.iterdir() if item.name != ".gitkeep"]
    for item in files:
        replaced = settings.vocabulary if item.name == "vocabulary.txt" else None
        original = (replaced or item).resolve()
        if settings.copy_files:
            shutil.copyfile(original, folder / item.name)
        else:
            (folder / item.name).symlink_to(original)
