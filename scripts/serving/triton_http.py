"""What the launcher asks of its own server, over HTTP on this machine: plain requests, no client library."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

_SAMPLES = 1600
_QUICK_SECS = 2.0
_LOGGED = ("log_error", "log_warning", "log_info")


class TritonRefusedError(RuntimeError):
    """Triton answered with an error."""


class TritonHttp:
    """One server. Everything but the answers of Triton itself is an OSError: no server, or none in time."""

    def __init__(self, port: int, host: str, headers: Mapping[str, str]) -> None:
        """Remember where it is.

        Args:
            port: of the HTTP service.
            host: that it binds; if that is every address, it is asked on the loopback one.
            headers: that open what is restricted.
        """
        address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
        self._url, self._headers = f"http://{address}:{port}/v2", dict(headers)

    def is_ready(self) -> bool:
        """Whether the server and all its models are ready; False when there is no server."""
        try:
            self._ask("health/ready", None, _QUICK_SECS)
        except (OSError, TritonRefusedError):
            return False
        return True

    def load_model(self, name: str, timeout_secs: float | None = None) -> None:
        """Load a model, or load it anew. Raises TritonRefusedError when it does not load."""
        self._ask(f"repository/models/{name}/load", {}, timeout_secs)

    def unload_model(self, name: str) -> None:
        """Begin to unload a model. Raises TritonRefusedError when there is none."""
        self._ask(f"repository/models/{name}/unload", {}, _QUICK_SECS)

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Let Triton log nothing, for a moment. Raises OSError when it does not answer."""
        before = self._ask("logging", None, _QUICK_SECS)
        self._ask("logging", dict.fromkeys(_LOGGED, False), _QUICK_SECS)
        try:
            yield
        finally:
            self._ask("logging", {name: before[name] for name in _LOGGED}, _QUICK_SECS)

    def model_states(self) -> dict[str, str]:
        """Return the state of every model that Triton knows, "READY" among them."""
        return {entry["name"]: entry.get("state", "") for entry in self._ask("repository/index", {}, _QUICK_SECS)}

    def recognise_silence(self, ensemble: str, sequence_id: str, timeout_secs: float) -> None:
        """Let a pipeline work on a tenth of a second of silence. Raises TritonRefusedError when it cannot."""
        request = {
            "parameters": {"sequence_id": sequence_id, "sequence_start": True, "sequence_end": True},
            "inputs": [{"name": "AUDIO", "datatype": "FP32", "shape": [1, _SAMPLES], "data": [0.0] * _SAMPLES}],
            "outputs": [{"name": "TRANSCRIPT"}],
        }
        self._ask(f"models/{ensemble}/infer", request, timeout_secs)

    def _ask(self, path: str, body: object | None, timeout_secs: float | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}/{path}", data=data, headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout_secs) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                message = json.loads(text)["error"]
            except (ValueError, KeyError, TypeError):
                message = text.decode(errors="replace") or f"status {error.code}"
            raise TritonRefusedError(message) from error
        return json.loads(text) if text else None
