"""Tokens that the recogniser makes of sounds without speech.

    python -m scripts.evaluation.babble [--out figures.json]

Each sound is streamed alone, and once more after a spoken sentence. Exits with 1 when either yields more than one token
a minute.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32, load_audio
from scripts.evaluation.__main__ import ROOT
from scripts.evaluation.noises import sounds
from scripts.evaluation.served import connect, stream
from scripts.measurement import write_measurement
from scripts.serving.temporary import serve

MOST_TOKENS_PER_MINUTE = 1.0
SECS = 60.0
SPEECH = ROOT / "tests" / "data" / "audio" / "sense-and-sensibility-0880.flac"
# Tokens come after what they stand for; later ones are not of the sentence.
_MARGIN_SECS = 1.0


@dataclass(frozen=True)
class Babble:
    """What was recognised in one sound.

    Attributes:
        sound: its name.
        secs: its duration.
        alone: tokens a minute in the sound alone.
        after_speech: tokens a minute in the sound after a sentence.
        text: what was heard in the sound alone.
    """

    sound: str
    secs: float
    alone: float
    after_speech: float
    text: str

    @property
    def too_much(self) -> bool:
        """Whether it is more than is allowed."""
        return max(self.alone, self.after_speech) > MOST_TOKENS_PER_MINUTE


def listen(endpoint: str, recordings: dict[str, Float32]) -> list[Babble]:
    """Stream each sound through a running server, alone and after speech."""
    speech = load_audio(SPEECH)
    margin = len(speech) / MODEL_SAMPLE_RATE + _MARGIN_SECS
    heard = []
    with connect(endpoint) as client:
        for name, audio in recordings.items():
            minutes = len(audio) / MODEL_SAMPLE_RATE / 60
            alone = stream(client, audio)
            after = stream(client, np.concatenate([speech, audio]))
            late = sum(token.time_secs > margin for token in after.tokens)
            heard.append(
                Babble(
                    name,
                    secs=60 * minutes,
                    alone=round(len(alone.tokens) / minutes, 2),
                    after_speech=round(late / minutes, 2),
                    text=alone.text,
                )
            )
    return heard


def main() -> int:
    """Measure, print, write the figures; 1 when a sound has too many tokens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", help="ask this running server instead of starting one")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo")
    parser.add_argument("--secs", type=float, default=SECS, help="duration of each sound")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    if arguments.secs < 1:
        parser.error(f"--secs is {arguments.secs:g}, allowed is 1 or more")
    recordings = sounds(arguments.secs)
    if arguments.endpoint:
        heard = listen(arguments.endpoint, recordings)
    else:
        with serve(arguments.model_repo) as server:
            heard = listen(server.grpc_endpoint, recordings)
    for item in heard:
        print(f"{item.sound:24} {item.alone:5.1f} tokens a minute, {item.after_speech:5.1f} after speech  {item.text}")
    failed = [item.sound for item in heard if item.too_much]
    if arguments.out:
        write_measurement(arguments.out, {"limit": MOST_TOKENS_PER_MINUTE, "sounds": [asdict(item) for item in heard]})
    if failed:
        print(f"more than {MOST_TOKENS_PER_MINUTE:g} token a minute: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
