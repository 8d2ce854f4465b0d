"""Any request gets an answer in time, an error is about the request, and nobody else notices."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import event, given
from hypothesis import strategies as st

from tests.hostile.conftest import counted, effort
from tests.hostile.mutations import VALUES, calls, is_sequence
from tests.hostile.wire import Answer, chunk, honest_calls
from tests.server.streams import CHUNK, new_id

# RESOURCE_EXHAUSTED: Triton repeats a name of 100,000 characters in its error, and gRPC does not deliver that.
_REFUSALS = {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"}
_NUMBERS = {
    "beam_size": "whole numbers 1 to 16",
    "n_best": "whole numbers 1 to 1",
    "phrase_weight": "numbers 0 to 20",
    "endpoint_silence_ms": "whole numbers 80 to 60000",
    "endpoint_length_ms": "whole numbers 1000 to 600000, or 0",
    "vad_threshold": "a number from 0.01 to 0.99",
    "vad_hangover_ms": "a number from 300 to 10000",
}


def check(answer: Answer) -> None:
    event(answer.status)
    assert answer.ok or answer.status in _REFUSALS, f"{answer.status}: {answer.text}"
    assert answer.ok or len(answer.text) > 10
    assert len(answer.text.encode()) < 8192


def test_any_request_is_answered_and_disturbs_nobody(server, wire, witnesses):
    @effort(short=250)
    @given(calls())
    def property_(call):
        counted["requests gone wrong, over gRPC"] += 1
        check(wire.send(call))
        if is_sequence(call):  # so that fuzzing does not fill the server
            check(wire.send(replace(honest_calls("")[call.model], sequence_id=call.sequence_id, start=False)))
        assert witnesses.complaints == []

    property_()
    assert wire.ready()


def test_an_error_names_the_parameter_its_value_and_what_is_allowed(wire):
    @effort(short=60, share=0.2)
    @given(st.sampled_from(sorted(_NUMBERS)), VALUES)
    def property_(name, value):
        counted["parameters out of range"] += 1
        answer = wire.send(chunk(new_id(), [0.0] * CHUNK, start=True, end=True, **{name: value}))
        check(answer)
        if not answer.ok:
            assert name in answer.text
            assert _NUMBERS[name] in answer.text
            shown = repr(value.split("\0")[0] if isinstance(value, str) else value)
            assert shown[:50] in answer.text, (shown[:50], answer.text)

    property_()
