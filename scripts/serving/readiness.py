"""Turning the server's readiness off, for load balancers: Triton has no switch for that.

It is ready only while every model is (`--strict-readiness`). So a model that cannot load turns it off within
milliseconds, over HTTP and gRPC, and nothing else changes. One that loads under the same name, and is unloaded then,
turns it on again: Triton remembers the failure of a model that is only unloaded.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from scripts.serving.pipelines import read_config, read_pipelines
from scripts.serving.triton_http import TritonHttp, TritonRefusedError

NAME = "not_ready"
_SECS = 5.0


class Readiness:
    """The switch of one server."""

    def __init__(self, repository: Path, http: TritonHttp) -> None:
        """Remember the staged repository and how to reach the server."""
        self._repository, self._http = repository, http
        self.is_on = True

    def reset(self) -> None:
        """Remove what an earlier run left, before Triton loads every model of the repository."""
        shutil.rmtree(self._repository / NAME, ignore_errors=True)
        self.is_on = True

    def turn_off(self) -> None:
        """Make the server not ready. Raises OSError when it does not answer.

        Triton would log an error, and somebody would look for what is wrong.
        """
        config = self._any_ensemble()
        config.ClearField("ensemble_scheduling")
        config.platform, config.backend = "", NAME  # no backend has this name
        self._write(config)
        with self._http.quiet(), contextlib.suppress(TritonRefusedError):
            self._http.load_model(NAME, _SECS)
        self.is_on = False

    def turn_on(self) -> None:
        """Undo that. Raises OSError when the server does not answer."""
        self._write(self._any_ensemble())
        self._http.load_model(NAME, _SECS)
        self._http.unload_model(NAME)
        self.reset()

    def _any_ensemble(self) -> pb.ModelConfig:
        """Return the configuration of a model that loads at once, since all it needs is there."""
        names = [pipeline.ensemble for pipeline in read_pipelines(self._repository) if pipeline.ensemble != NAME]
        config = read_config(self._repository, names[0])
        config.name = NAME
        return config

    def _write(self, config: pb.ModelConfig) -> None:
        folder = self._repository / NAME
        (folder / "1").mkdir(parents=True, exist_ok=True)
        (folder / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")
