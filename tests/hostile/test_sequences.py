"""Flags, audio and errors in any order, over several sequences at a time, against a model of what must happen."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.hostile.conftest import counted, effort
from tests.hostile.wire import Answer, Tensor, Wire, chunk
from tests.server.streams import CHUNK, chunks_of, new_id

_LONGEST = 5  # chunks of a sequence
_NEEDS_START = "must specify the START flag|is not live here"


@dataclass(frozen=True)
class Recording:
    """Chunks of a recording, and what an undisturbed stream answers.

    Attributes:
        chunks: of audio.
        after: tokens after each chunk.
        ended: tokens of an empty END after so many chunks, from one.
    """

    chunks: list[np.ndarray]
    after: list[list[int]]
    ended: list[list[int]]

    @staticmethod
    def of(wire: Wire, samples: np.ndarray) -> Recording:
        """Stream it, once for every number of chunks."""
        chunks = chunks_of(samples)[:_LONGEST]
        ended = []
        for count in range(1, len(chunks) + 1):
            sequence_id = new_id()
            after = [
                wire.send(chunk(sequence_id, piece, start=index == 0)).tokens
                for index, piece in enumerate(chunks[:count])
            ]
            ended.append(wire.send(chunk(sequence_id, [], end=True)).tokens)
        return Recording(chunks, after, ended)


@dataclass
class Expected:
    """What the server must hold for an ID.

    Attributes:
        recording: that it streams; None when no step holds a sequence of that ID.
        sent: chunks of it that were recognised.
        refused: whether an error came after them.
    """

    recording: Recording | None = None
    sent: int = 0
    refused: bool = False

    @property
    def tokens(self) -> list[int]:
        return self.recording.after[self.sent - 1] if self.recording and self.sent else []


@dataclass
class Site:
    """What the machines share."""

    wires: list[Wire]
    recordings: list[Recording]
    complaints: list[str] = field(default_factory=list)


def _bad_audio(kind: str) -> np.ndarray:
    audio = np.zeros(CHUNK + {"short": -1, "long": 1, "double": CHUNK}.get(kind, 0), np.float32)
    if kind in ("nan", "inf", "loud"):
        audio[CHUNK // 2] = {"nan": np.nan, "inf": np.inf, "loud": 2.5}[kind]
    return audio


_BAD_AUDIO = {
    "short": rf"AUDIO has {CHUNK - 1} samples.*exactly {CHUNK}",
    "long": rf"AUDIO has {CHUNK + 1} samples.*exactly {CHUNK}",
    "double": rf"AUDIO has {2 * CHUNK} samples.*exactly {CHUNK}",
    "nan": rf"AUDIO\[{CHUNK // 2}\] is nan.*\[-1, 1\]",
    "inf": rf"AUDIO\[{CHUNK // 2}\] is inf.*\[-1, 1\]",
    "loud": r"peak of 2\.5.*\[-1, 1\]",
}
# Parameters of a later chunk, and the step that refuses them.
_LATE = {
    "beam_size": "beam_size comes too late; allowed only with START",
    "vad_gate": "vad_gate comes too late; allowed only with START",
    "finalize": "finalize is 7; allowed: true, false",
    "sample_rate": "sample_rate is 7; this model takes 16000 Hz",
}

# Number and text of the same digits are different sequences. So many that they run into each other.
_IDS = st.sampled_from([7, "7", "stream", "strea", 2**63 - 1])
_WHO = st.integers(0, 1)


class Sequences(RuleBasedStateMachine):
    """Two clients that know each other's IDs."""

    site: Site

    @initialize()
    def begin(self) -> None:
        # IDs of earlier machines may still be live.
        self.salt = new_id()
        self.expected: dict[int | str, Expected] = {}

    def _send(self, who: int, key: int | str, samples, **keywords) -> Answer:
        counted["requests of sequences, in any order"] += 1
        name = key + int(self.salt[:6], 16) * 1000 if key == 7 else key if isinstance(key, int) else key + self.salt
        name = str(7 + int(self.salt[:6], 16) * 1000) if key == "7" else name
        answer = self.site.wires[who].send(chunk(name, samples, **keywords))
        note(f"{key!r}: {answer.status} {answer.text[:200]}")
        assert answer.ok or answer.status == "INVALID_ARGUMENT", (answer.status, answer.text)
        assert self.site.complaints == []
        return answer

    def _of(self, key: int | str) -> Expected:
        return self.expected.setdefault(key, Expected())

    @rule(who=_WHO, key=_IDS, number=st.integers(0, 1))
    def start(self, who, key, number):
        recording = self.site.recordings[number]
        answer = self._send(who, key, recording.chunks[0], start=True)
        assert answer.tokens == recording.after[0]
        self.expected[key] = Expected(recording, 1)

    @rule(who=_WHO, key=_IDS, number=st.integers(0, 1))
    def start_and_end(self, who, key, number):
        recording = self.site.recordings[number]
        answer = self._send(who, key, recording.chunks[0], start=True, end=True)
        assert answer.tokens == recording.ended[0]
        self.expected[key] = Expected()

    @rule(who=_WHO, key=_IDS)
    def go_on(self, who, key):
        state = self._of(key)
        if state.recording and state.sent == len(state.recording.chunks):
            return
        piece = state.recording.chunks[state.sent] if state.recording else np.zeros(CHUNK)
        answer = self._send(who, key, piece)
        if state.recording is None:
            assert re.search(_NEEDS_START, answer.text)
        elif state.refused:
            assert "failed earlier" in answer.text
        else:
            state.sent += 1
            assert answer.tokens == state.tokens

    @rule(who=_WHO, key=_IDS, with_audio=st.booleans())
    def end(self, who, key, with_audio):
        state = self._of(key)
        rest = state.recording.chunks[state.sent :] if state.recording else []
        with_audio = with_audio and bool(rest) and not state.refused
        answer = self._send(who, key, rest[0] if with_audio else [], end=True)
        if state.recording is None:
            assert not answer.ok
            assert re.search(_NEEDS_START, answer.text)
        elif state.refused:
            assert answer.tokens == state.tokens
        else:
            assert answer.tokens == state.recording.ended[state.sent - 1 + with_audio]
        self.expected[key] = Expected()

    @rule(who=_WHO, key=_IDS, kind=st.sampled_from(sorted(_BAD_AUDIO)))
    def send_what_is_no_audio(self, who, key, kind):
        self._refused(self._send(who, key, _bad_audio(kind)), key, _BAD_AUDIO[kind])

    @rule(who=_WHO, key=_IDS, kind=st.sampled_from(sorted(_LATE)))
    def send_a_parameter_that_is_wrong_now(self, who, key, kind):
        self._refused(self._send(who, key, np.zeros(CHUNK), **{kind: 7}), key, re.escape(_LATE[kind]))

    def _refused(self, answer: Answer, key: int | str, message: str) -> None:
        state = self._of(key)
        if state.recording is None:
            assert re.search(_NEEDS_START, answer.text)
        elif state.refused:  # maybe by a later step only; then an earlier one still looks at what comes
            assert re.search(f"failed earlier|{message}", answer.text), answer.text
        else:
            assert re.search(message, answer.text), answer.text
            state.refused = True

    @rule(who=_WHO, key=_IDS)
    def send_another_data_type(self, who, key):
        """Triton refuses it before any step sees it, so nothing changes."""
        name = f"{key}{self.salt}"
        wrong = chunk(name, np.zeros(CHUNK))
        tensor = Tensor.of("AUDIO", np.zeros((1, CHUNK)), "FP64")
        answer = self.site.wires[who].send(type(wrong)(wrong.model, (tensor,), name))
        assert "FP64" in answer.text

    def teardown(self) -> None:
        for key in [key for key, state in self.expected.items() if state.recording]:
            self.end(0, key, with_audio=False)


@pytest.fixture(scope="module")
def site(server, clips, wire):
    recordings = [Recording.of(wire, clip.audio) for clip in clips[:2]]
    assert all(recording.ended[-1] for recording in recordings)
    other = Wire(server.grpc_endpoint)
    yield Site([wire, other], recordings)
    other.close()


def test_flags_in_any_order(site, witnesses):
    site.complaints = witnesses.complaints

    class Machine(Sequences):
        pass

    Machine.site = site
    run_state_machine_as_test(Machine, settings=type(effort(1))(effort(short=12, share=0.05), stateful_step_count=30))
