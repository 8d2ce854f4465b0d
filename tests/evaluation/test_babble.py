"""The real server says nothing about silence, and something about speech."""

from __future__ import annotations

import numpy as np

from scripts.evaluation.babble import Babble, listen


def test_silence_yields_no_token_and_speech_yields_many(server, speech):
    silence, spoken = listen(
        server.grpc_endpoint, {"silence": np.zeros(160000, np.float32), "speech": speech[: 16000 * 5]}
    )
    assert not silence.too_much
    assert (silence.alone, silence.after_speech, silence.text) == (0, 0, "")
    assert spoken.too_much
    assert spoken.alone > 60
    assert spoken.after_speech > 60


def test_the_limit_is_one_token_a_minute_in_both():
    assert not Babble("hum", 60.0, 1.0, 1.0, "a").too_much
    assert Babble("hum", 60.0, 2.0, 0.0, "a b").too_much
    assert Babble("hum", 60.0, 0.0, 2.0, "").too_much
