"""When a segment of a stream ends."""

from __future__ import annotations

from dataclasses import dataclass

NO_SPEECH, SILENCE, LENGTH = "no_speech", "silence", "length"
FINALIZE, END = "finalize", "end"  # asked for by the client

NEVER = 1 << 62


@dataclass(frozen=True)
class EndpointRules:
    """Rules on frames without a label, as Kaldi's online endpointing has them.

    They look at frames, never at chunks, so the cut does not depend on how the audio was sent.

    Attributes:
        silence_frames: a segment with speech ends after so many frames without a label.
        no_speech_frames: one without speech, after so many frames.
        length_frames: one that lasts this long ends at the start of its next word, so that no word is cut.
    """

    silence_frames: int = NEVER
    no_speech_frames: int = NEVER
    length_frames: int = NEVER

    def due_frame(self, segment_start: int, last_token: int | None) -> int:
        """Return the frame before which a segment ends if no further label comes.

        Args:
            segment_start: first frame of the segment.
            last_token: frame of its last token; None while it has none.
        """
        if last_token is None:
            return segment_start + self.no_speech_frames
        return last_token + 1 + self.silence_frames

    def rule_of_silence(self, last_token: int | None) -> str:
        """Return the name of the rule behind `due_frame`."""
        return NO_SPEECH if last_token is None else SILENCE

    def too_long(self, segment_start: int, last_token: int | None, frame: int) -> bool:
        """Whether a segment that has words shall end rather than begin another word at a frame.

        A frame that has a token already is not cut: the next segment would hear that token again.
        """
        return last_token is not None and last_token < frame and frame - segment_start >= self.length_frames


NO_ENDPOINTS = EndpointRules()
