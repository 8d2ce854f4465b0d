"""Another version of a recogniser in a running server, without dropping a stream.

Triton keeps the state of a sequence in the models that its ensemble names, and looks them up anew for every chunk. So a
model must not be reloaded while it holds sequences, and an ensemble may be at any time: it holds none. All versions of
one model also share one `config.pbtxt`. Therefore a new version is a pipeline of other names (`v2.encoder`), loaded
beside the old one, and the names that clients use follow in two steps:

1. `asr_streaming` gets the parameter `successor`, `v2.asr_streaming`. Clients that read it start there; every stream
   that runs, and clients that do not read it, go on with the old models.
2. When the old models hold no stream any more, `asr_streaming` itself names the new ones and the old ones are unloaded.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from scripts.serving.address import Address
from scripts.serving.draining import read_activity, wait_idle
from scripts.serving.interfaces import ADMIN_HEADER
from scripts.serving.pipelines import Pipeline, read_config, read_pipeline, read_pipelines
from scripts.serving.staging import RepositorySettings, add_repository
from scripts.serving.triton_http import TritonHttp, TritonRefusedError

SUCCESSOR = "successor"
# A client that has just read the old name has a chunk of audio to wait for before its START.
_SETTLE_SECS = 2.0
# For a START that passed the ensemble before it was changed to show in the metrics.
_START_SECS = 0.1
_IDLE_MARGIN_SECS = 3.0
_UNLOAD_SECS = 60.0


class SwitchError(RuntimeError):
    """The switch cannot be made, or not now; the server goes on as it was."""


@dataclass(frozen=True)
class RunningServer:
    """What must be known of a server to change its models."""

    repository: Path
    http: TritonHttp
    metrics_url: str

    @staticmethod
    def find(runtime_folder: Path) -> RunningServer:
        """Return the server that runs from a folder. Raises SwitchError when there is none whose models may change."""
        try:
            address = Address.read(runtime_folder)
        except FileNotFoundError:
            raise SwitchError(f"no server runs from {runtime_folder}: start one with `make serve`") from None
        if address.admin_key is None:
            raise SwitchError("the server does not let its models change: start it with AMIRA_MODEL_CONTROL=explicit")
        http = TritonHttp(address.http_port, address.host, {ADMIN_HEADER: address.admin_key})
        return RunningServer(runtime_folder / "model-repo", http, address.metrics_url)


class VersionSwitch:
    """The versions of one recogniser in a running server."""

    def __init__(self, server: RunningServer, *, prefix: str, streaming: str, batch: str) -> None:
        """Connect.

        Args:
            server: started with explicit model control.
            prefix: of the recogniser's models; empty for the default one.
            streaming: the name that clients use for streams.
            batch: the name that clients use for whole utterances.

        Raises:
            SwitchError: the server does not serve these.
        """
        self._server, self._prefix = server, prefix
        self._names = {streaming: "asr_streaming", batch: "asr_batch"}
        for name in self._names:
            if not (server.repository / name / "config.pbtxt").exists():
                raise SwitchError(f"the server has no model {name!r}: check the name of the recogniser")
        self._triton = server.http

    @property
    def successor(self) -> str | None:
        """The prefix of the version that is to take over; None when no switch is under way."""
        for name, canonical in self._names.items():
            config = read_config(self._server.repository, name)
            if SUCCESSOR in config.parameters:
                return str(config.parameters[SUCCESSOR].string_value).removesuffix(canonical)
        return None

    def begin(self, source: Path, settings: RepositorySettings) -> str:
        """Load a new version beside the old one and let new streams start there; return the prefix of its models.

        Raises:
            SwitchError: another switch is under way, or the version does not load.
            FileNotFoundError: as `add_repository`.
        """
        if self.successor is not None:
            raise SwitchError(f"the switch to {self.successor} is not finished: run without a repository to finish it")
        repository = self._server.repository
        prefix = f"{self._prefix}v{self._next_version()}."
        add_repository(source, repository, replace(settings, prefix=prefix, copy_files=True))
        pipelines = [read_pipeline(repository, prefix + canonical) for canonical in self._names.values()]
        try:
            for model in _in_order_of_use(pipelines):
                self._triton.load_model(model)
            for name, canonical in self._names.items():
                config = read_config(repository, name)
                config.parameters[SUCCESSOR].string_value = prefix + canonical
                self._replace(name, config)
        except BaseException as error:
            self._withdraw(pipelines)
            if isinstance(error, TritonRefusedError):
                raise SwitchError(f"the new version was not taken, the old one stays: {error}") from error
            raise
        return prefix

    def finish(self, timeout_secs: float = math.inf) -> bool:
        """Wait until no stream is left on the old version, hand its names to the new one, and unload it.

        Returns:
            Whether that was reached in time. If not, both versions go on, and this may be called again.

        Raises:
            SwitchError: no switch is under way, or Triton does not unload the old version.
        """
        new = self.successor
        if new is None:
            raise SwitchError("no switch is under way: name the repository to switch to")
        repository = self._server.repository
        before = {name: read_config(repository, name) for name in self._names}
        pipelines = {name: read_pipeline(repository, name) for name in self._names}
        # Not all, when an earlier call was interrupted while it moved the names.
        old = [item for name, item in pipelines.items() if SUCCESSOR in before[name].parameters]
        models = {model for pipeline in old for model in pipeline.models}
        idle_secs = max(pipeline.idle_secs or 0.0 for pipeline in old) + _IDLE_MARGIN_SECS
        deadline = time.monotonic() + timeout_secs
        while True:
            if not wait_idle(
                self._server.metrics_url,
                models,
                deadline - time.monotonic(),
                quiet_secs=_SETTLE_SECS,
                abandoned_secs=idle_secs,
            ):
                return False
            abandoned = self._live(models)
            for name, canonical in self._names.items():
                config = read_config(repository, new + canonical)
                config.name = name
                self._replace(name, config)
            time.sleep(_START_SECS)
            if self._live(models) <= abandoned:
                break
            for name, config in before.items():  # a stream began in that moment: it may end, too
                self._replace(name, config)
        self._unload(old)
        return True

    def streams_left(self) -> int:
        """How many streams the models behind the names of the recogniser hold."""
        steps = {step for name in self._names for step in read_pipeline(self._server.repository, name).steps}
        return self._live(steps)

    def _live(self, models: Iterable[str]) -> int:
        return read_activity(self._server.metrics_url, set(models)).live_streams

    def _next_version(self) -> int:
        pattern = re.compile(re.escape(self._prefix) + r"v(\d+)\.")
        found = [pattern.match(folder.name) for folder in self._server.repository.iterdir()]
        return max([1, *(int(match[1]) for match in found if match)]) + 1

    def _replace(self, name: str, config: pb.ModelConfig) -> None:
        """Give an ensemble another configuration: a few milliseconds; what it is working on goes on as it was."""
        file = self._server.repository / name / "config.pbtxt"
        former = file.read_text(encoding="utf-8")
        _write(file, text_format.MessageToString(config))
        try:
            self._triton.load_model(name)
        except TritonRefusedError:
            _write(file, former)
            raise

    def _withdraw(self, pipelines: list[Pipeline]) -> None:
        for name in self._names:
            config = read_config(self._server.repository, name)
            if config.parameters.pop(SUCCESSOR, None) is not None:
                self._replace(name, config)
        self._remove(reversed(_in_order_of_use(pipelines)))

    def _unload(self, old: list[Pipeline]) -> None:
        """Unload pipelines that the names of the recogniser have left."""
        steps = {pipeline.steps for pipeline in old}
        ensembles = [item.ensemble for item in read_pipelines(self._server.repository) if item.steps in steps]
        self._remove([*ensembles, *(name for name in reversed(_in_order_of_use(old)) if name not in self._names)])

    def _remove(self, models: Iterable[str]) -> None:
        models = list(models)
        deadline = time.monotonic() + _UNLOAD_SECS
        while busy := [(name, state) for name, state in self._states(models) if state != "UNAVAILABLE"]:
            if time.monotonic() > deadline:
                raise SwitchError(f"Triton has not unloaded {', '.join(name for name, _ in busy)}")
            for name, state in busy:
                if state == "READY":
                    self._triton.unload_model(name)
            time.sleep(0.1)
        for model in models:
            shutil.rmtree(self._server.repository / model)

    def _states(self, models: list[str]) -> list[tuple[str, str]]:
        """Return name and state of those models that Triton knows, in the order given."""
        states = self._triton.model_states()
        return [(name, states[name]) for name in models if states.get(name)]


def _in_order_of_use(pipelines: list[Pipeline]) -> list[str]:
    """Return what is used before what uses it: what steps call, steps, ensemble; each name once."""
    names = [name for pipeline in pipelines for name in pipeline.called]
    names += [step for pipeline in pipelines for step in pipeline.steps]
    return list(dict.fromkeys([*names, *(pipeline.ensemble for pipeline in pipelines)]))


def _write(file: Path, text: str) -> None:
    """Replace a file at once: Triton may be reading it."""
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)
