"""Tokens that the recogniser makes of sounds without speech.

    python -m scripts.evaluation.babble [--out figures.json]

Exits with 1 when a sound yields more than one token a minute.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from amira_asr.audio import MODEL_SAMPLE_RATE, Float32
from scripts.evaluation.__main__ import ROOT
from scripts.evaluation.noises import sounds
from scripts.evaluation.served import connect, serve, stream
from scripts.measurement import write_measurement

MOST_TOKENS_PER_MINUTE = 1.0
SECS = 60.0


@dataclass(frozen=True)
class Babble:
    """What was recognised in one sound.

    Attributes:
        sound: its name.
        secs: its duration.
        tokens: how many were recognised.
        text: what they say.
    """

    sound: str
    secs: float
    tokens: int
    text: str

    @property
    def tokens_per_minute(self) -> float:
        """Rate of tokens."""
        return 60 * self.tokens / self.secs

    @property
    def too_much(self) -> bool:
        """Whether it is more than is allowed."""
        return self.tokens_per_minute > MOST_TOKENS_PER_MINUTE


def listen(endpoint: str, recordings: dict[str, Float32]) -> list[Babble]:
    """Stream each sound through a running server."""
    heard = []
    with connect(endpoint) as client:
        for name, audio in recordings.items():
            final = stream(client, audio)
            heard.append(Babble(name, len(audio) / MODEL_SAMPLE_RATE, len(final.tokens), final.text))
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
        print(f"{item.sound:24} {item.tokens_per_minute:6.1f} tokens a minute  {item.text}")
    failed = [item.sound for item in heard if item.too_much]
    if arguments.out:
        rows = [{**asdict(item), "tokens_per_minute": round(item.tokens_per_minute, 2)} for item in heard]
        write_measurement(arguments.out, {"limit": MOST_TOKENS_PER_MINUTE, "sounds": rows})
    if failed:
        print(f"more than {MOST_TOKENS_PER_MINUTE:g} token a minute: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
