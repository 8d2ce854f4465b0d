"""Typed reading of Triton's model configuration (`args["model_config"]`), once, at initialisation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# Triton reaps an idle sequence after max_sequence_idle_microseconds; our copy must not go first.
IDLE_MARGIN_SECS = 2.0


class ModelConfig:
    """The configuration of one model, with errors that name the model and the key."""

    def __init__(self, config_json: str) -> None:
        """Parse the JSON text that Triton hands to `initialize`."""
        self.raw: dict[str, Any] = json.loads(config_json)
        self.model_name: str = self.raw["name"]
        self.max_batch_size: int = self.raw.get("max_batch_size", 0)
        parameters: Mapping[str, Mapping[str, str]] = self.raw.get("parameters", {})
        self._parameters = {key: value["string_value"] for key, value in parameters.items()}

    def text(self, key: str, allowed: tuple[str, ...] | None = None) -> str:
        """Return a parameter. Raises ValueError when it is missing or not one of `allowed`."""
        if key not in self._parameters:
            raise ValueError(f"model {self.model_name!r}: parameter {key!r} is missing from config.pbtxt")
        value = self._parameters[key]
        if allowed is not None and value not in allowed:
            raise ValueError(
                f"model {self.model_name!r}: parameter {key!r} is {value!r}, allowed: {', '.join(allowed)}"
            )
        return value

    def optional_text(self, key: str) -> str | None:
        """Return a parameter; None when it is missing or empty."""
        return self._parameters.get(key) or None

    def boolean(self, key: str) -> bool:
        """Return a parameter; false when it is missing. Raises ValueError when it is neither true nor false."""
        return key in self._parameters and self.text(key, ("true", "false")) == "true"

    def integer(self, key: str, minimum: int = 0) -> int:
        """Return a whole-number parameter >= minimum. Raises ValueError otherwise."""
        value = self.text(key)
        try:
            number = int(value)
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise ValueError(
                f"model {self.model_name!r}: parameter {key!r} is {value!r}, allowed: whole numbers >= {minimum}"
            )
        return number

    def optional_integer(self, key: str, minimum: int = 0) -> int | None:
        """Return as `integer`; None when the parameter is missing or empty."""
        return self.integer(key, minimum) if self.optional_text(key) else None

    def optional_number(self, key: str, minimum: float = 0.0) -> float | None:
        """Return as `number`; None when the parameter is missing or empty."""
        return self.number(key, minimum) if self.optional_text(key) else None

    def number(self, key: str, minimum: float = 0.0) -> float:
        """Return a real parameter >= minimum. Raises ValueError otherwise."""
        value = self.text(key)
        try:
            number = float(value)
        except ValueError:
            number = minimum - 1
        if not number >= minimum:
            raise ValueError(
                f"model {self.model_name!r}: parameter {key!r} is {value!r}, allowed: numbers >= {minimum:g}"
            )
        return number

    @property
    def is_sequence_model(self) -> bool:
        """Whether the model has a `sequence_batching` section."""
        return "sequence_batching" in self.raw

    @property
    def later_step_capacity(self) -> int | None:
        """Most sequences of a step behind the first one; None where the configuration does not say.

        Twice what the first one admits, which forgets idle sequences a moment before. Only who calls the step directly
        meets it, and then everybody is told so instead of waiting.
        """
        admitted = self.optional_text("max_concurrent_streams")
        return None if admitted is None else 2 * self.integer("max_concurrent_streams", 1)

    @property
    def idle_secs(self) -> float:
        """Seconds after which a sequence that Triton has dropped is forgotten here too."""
        microseconds = int(self.raw["sequence_batching"].get("max_sequence_idle_microseconds", 0))
        return microseconds / 1e6 + IDLE_MARGIN_SECS
