"""What the steps take from each other, and from whoever calls them directly."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.input_checks import InputChecks
from common.parameters import ModelConfig
from log_mel.vad_gate import LOOK_AHEAD_SAMPLES
from scripts.export.model_configs import MOST_HELD_BACK_SAMPLES


def checks(**parameters):
    return InputChecks.configured(
        ModelConfig(
            json.dumps(
                {
                    "name": "encoder",
                    "input": [
                        {"name": "FEATURES", "dims": ["80", "-1"]},
                        {"name": "FEATURES_LENGTH", "dims": ["1"]},
                        {"name": "TARGET", "dims": ["1"]},
                        {"name": "MAX_SYMBOLS", "dims": ["1"]},
                    ],
                    "parameters": {key: {"string_value": str(value)} for key, value in parameters.items()},
                }
            )
        )
    )


def inputs(frames=65, length=65, target=0, symbols=1):
    return {
        "FEATURES": np.zeros((1, 80, frames), np.float32),
        "FEATURES_LENGTH": np.array([[length]]),
        "TARGET": np.array([[target]]),
        "MAX_SYMBOLS": np.array([[symbols]]),
    }


LIMITS = {"min_frames": 65, "max_frames": 128, "labels": 129, "max_symbols": 100}


@pytest.mark.parametrize("good", [{}, {"frames": 128, "length": 128}, {"length": 0}, {"target": 128}], ids=str)
def test_what_a_step_sends_is_accepted(good):
    checks(**LIMITS).check(inputs(**good))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"frames": 64}, "FEATURES has 64 frames; allowed: 65 to 128"),
        ({"frames": 129}, "FEATURES has 129 frames; allowed: 65 to 128"),
        ({"length": 66}, "FEATURES_LENGTH is 66; allowed: 0 to 65"),
        ({"length": -1}, "FEATURES_LENGTH is -1; allowed: 0 to 65"),
        ({"length": -(2**63)}, "FEATURES_LENGTH is -9223372036854775808; allowed: 0 to 65"),
        ({"target": 129}, "TARGET is 129; allowed: 0 to 128"),
        ({"target": -1}, "TARGET is -1; allowed: 0 to 128"),
        ({"symbols": 0}, "MAX_SYMBOLS is 0; allowed: 1 to 100"),
        ({"symbols": 101}, "MAX_SYMBOLS is 101; allowed: 1 to 100"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(bad, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        checks(**LIMITS).check(inputs(**bad))


def test_an_utterance_may_have_the_frames_of_its_seconds():
    limited = checks(max_audio_secs=30, frame_secs=0.01)
    limited.check(inputs(frames=3100, length=3000))
    with pytest.raises(ValueError, match="FEATURES has 3201 frames; allowed: 0 to 3200"):
        limited.check(inputs(frames=3201))


def test_a_repository_without_limits_has_none():
    checks().check(inputs(frames=100_000, target=-5))


def test_the_exporter_knows_how_much_a_gate_holds_back():
    assert MOST_HELD_BACK_SAMPLES == LOOK_AHEAD_SAMPLES
