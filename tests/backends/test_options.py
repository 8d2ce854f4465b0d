"""Request parameters: typed, checked, and errors that name the parameter, its value and what is allowed."""

from __future__ import annotations

import json

import pytest

from rnnt_decoder.endpoints import NO_ENDPOINTS
from rnnt_decoder.options import MAX_PHRASES, DecodingOptions, OptionsReader
from rnnt_decoder.tokenizer import Tokenizer

REPOSITORY = "model-repo/decoder/1/tokenizer.model"


@pytest.fixture(scope="module")
def reader(request):
    tokenizer = Tokenizer(request.config.rootpath / REPOSITORY)
    return OptionsReader(
        frame_secs=0.08, labels=128, max_beam_size=8, tokenizer=tokenizer, language_model=None, lm_weight=0.0
    )


def test_nothing_asked_for_is_greedy(reader):
    assert reader.read({}) == DecodingOptions()


def test_what_is_asked_for(reader):
    options = reader.read(
        {
            "beam_size": 4,
            "n_best": "2",
            "length_normalization": False,
            "endpointing": True,
            "endpoint_silence_ms": 500,
            "endpoint_length_ms": 0,
            "vad_gate": True,
            "sample_rate": 16000,
        }
    )
    assert (options.beam_size, options.n_best, options.length_normalization) == (4, 2, False)
    assert options.endpoints.silence_frames == 7
    assert options.endpoints.length_frames == options.endpoints.no_speech_frames == NO_ENDPOINTS.length_frames


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"beam_size": 9}, "beam_size is 9; allowed: whole numbers 1 to 8"),
        ({"beam_size": 0}, "beam_size is 0; allowed"),
        ({"beam_size": "two"}, "beam_size is 'two'; allowed"),
        ({"beam_size": 1.5}, "beam_size is 1.5; allowed: whole numbers"),
        ({"beam_size": True}, "beam_size is True; allowed"),
        ({"n_best": 2}, "n_best is 2; allowed: whole numbers 1 to 1"),
        ({"length_normalization": "maybe"}, "length_normalization is 'maybe'; allowed: true, false"),
        ({"lm_weight": 0.5}, "lm_weight is 0.5; this model has no language model"),
        ({"lm_weight": "nan"}, "lm_weight is 'nan'; allowed: numbers 0 to 5"),
        ({"phrase_weight": -1}, "phrase_weight is -1; allowed: numbers 0 to 20"),
        ({"phrases": "hello"}, "phrases is 'hello'; allowed: a list of texts in JSON"),
        ({"phrases": "[" * 100_000}, "allowed: a list of texts in JSON"),
        ({"phrases": f"[{'1' * 5000}]"}, "allowed: a list of texts in JSON"),
        ({"phrases": r'["\ud800"]'}, r"phrases\[0\] is '\\ud800'; allowed: text without single surrogates"),
        (
            {"phrases": json.dumps(["a" * 200] * 1001)},
            "phrases have 200,200 characters; allowed: up to 200,000 together",
        ),
        ({"phrases": " " * 2_000_001}, "phrases has 2,000,001 characters of JSON; allowed: up to 2,000,000"),
        ({"phrases": "{}"}, "phrases has dict; allowed: a list of 1 to 10,000"),
        ({"phrases": "[]"}, "phrases has 0 entries"),
        ({"phrases": '["a", 7]'}, r"phrases\[1\] is 7; allowed: a text or"),
        ({"phrases": '[{"text": "a", "wait": 1}]'}, r"phrases\[0\] is "),
        ({"phrases": '[{"text": "a", "weight": 99}]'}, r"phrases\[0\]\.weight is 99; allowed: numbers 0 to 20"),
        ({"phrases": '[" "]'}, r"phrases\[0\] has 0 characters; allowed: 1 to 200"),
        ({"phrases": '["漢字"]'}, "'漢字' cannot be written with the letters"),
        ({"phrases": json.dumps(["a"] * (MAX_PHRASES + 1))}, "phrases has 10,001 entries"),
        ({"endpointing": 3}, "endpointing is 3; allowed: true, false"),
        ({"endpoint_silence_ms": 10}, "endpoint_silence_ms is 10; allowed: whole numbers 80 to 60000"),
        ({"endpoint_length_ms": 5}, "endpoint_length_ms is 5; allowed: whole numbers 1000 to 600000, or 0"),
        ({"beamsize": 3}, "unknown parameter 'beamsize'; known: beam_size"),
    ],
)
def test_what_is_not_allowed_is_named(reader, parameters, message):
    with pytest.raises(ValueError, match=message):
        reader.read(parameters)


def test_later_chunks_may_only_finalize(reader):
    reader.check_later({"finalize": True})
    with pytest.raises(ValueError, match="beam_size comes too late; allowed only with START"):
        reader.check_later({"beam_size": 2})
    with pytest.raises(ValueError, match="finalize is 'now'; allowed: true, false"):
        reader.check_later({"finalize": "now"})


def test_phrases_are_written_in_the_case_of_the_vocabulary_and_built_once(reader):
    text = json.dumps(["New York", {"text": "hello", "weight": 3}])
    first, second = (reader.read({"phrases": text}).fusion for _ in range(2))
    assert first.models[0] is second.models[0]
    (lower,) = reader.read({"phrases": json.dumps(["new york"])}).fusion.models
    assert lower.scores(lower.start).max() == pytest.approx(1.5)
