"""A language model configured by the operator, chosen by streams."""

from __future__ import annotations

import pytest

from amira_asr import AsrClient, DecodingOptions, Final, Settings
from scripts.serving.staging import RepositorySettings
from tests.conftest import ROOT, start_server

pytest.importorskip("kenlm", reason="the package kenlm is not installed: requirements/lm.txt")

FAVOURITE = "▁a"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Of a server whose language model, of weight 0 unless asked for, likes one piece best."""
    folder = tmp_path_factory.mktemp("lm")
    pieces = (ROOT / "model-repo" / "decoder" / "1" / "vocabulary.txt").read_text(encoding="utf-8").split()
    unigrams = [f"{-0.1 if piece == FAVOURITE else -4}\t{piece}" for piece in pieces]
    # KenLM wants a bigram.
    counts = f"\\data\\\nngram 1={len(pieces) + 2}\nngram 2=1"
    lines = [counts, "", "\\1-grams:", "-99\t<s>\t0", "-4\t</s>", *unigrams, "", "\\2-grams:", f"-1\t<s> {FAVOURITE}"]
    (folder / "lm.arpa").write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
    with (
        start_server(folder, RepositorySettings(language_model=folder / "lm.arpa", lm_weight=0.0)) as server,
        AsrClient(Settings(triton_endpoint=server.grpc_endpoint)) as client,
    ):
        yield client


def streamed(client, audio, options):
    return [event for event in client.stream([audio], options=options) if isinstance(event, Final)][-1].tokens


@pytest.mark.parametrize("beam_size", [1, 4])
def test_its_weight_changes_what_is_heard(client, speech, beam_size):
    counts = []
    for weight in (0.0, 2.0):
        options = DecodingOptions(beam_size=beam_size, lm_weight=weight)
        tokens = streamed(client, speech, options)
        assert [token.id for token in tokens] == [
            token.id for token in client.transcribe(speech, options=options).tokens
        ]
        counts.append(sum(token.text == FAVOURITE for token in tokens))
    assert counts[1] > counts[0] + 3


def test_the_configured_weight_is_that_of_streams_that_do_not_say(client, speech):
    assert streamed(client, speech, DecodingOptions()) == streamed(client, speech, DecodingOptions(lm_weight=0.0))
