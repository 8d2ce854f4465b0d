"""The real server says nothing about silence, and something about speech."""

from __future__ import annotations

import numpy as np

from scripts.evaluation.babble import Babble, listen


def test_silence_yields_no_token_and_speech_yields_many(server, speech):
    silence, spoken = listen(
        server.grpc_endpoint, {"silence": np.zeros(160000, np.float32), "speech": speech[: 16000 * 5]}
    )
    assert not silence.too_much
    assert (silence.tokens, silence.text) == (0, "")
    assert spoken.too_much
    assert spoken.tokens_per_minute > 60


def test_the_limit_is_one_token_a_minute():
    assert not Babble("hum", 60.0, 1, "a").too_much
    assert Babble("hum", 60.0, 2, "a b").too_much
    assert Babble("hum", 30.0, 1, "a").too_much
