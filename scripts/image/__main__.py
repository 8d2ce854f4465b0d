"""Rehearse the image: `python -m scripts.image cpu` builds it in a folder, starts it there, and lets it transcribe."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.image.dockerfile import Dockerfile
from scripts.image.rehearsal import Rehearsal, RehearsalError

ROOT = Path(__file__).resolve().parents[2]
_CLIPS = "/clips"

# The image's own command, health check and client; then what `docker stop` sends.
_SCRIPT = """
"$@" &
server=$!
for second in $(seq 120); do
    if {health} 2>/dev/null; then break; fi
    kill -0 $server || exit 1
    sleep 1
done
if touch /opt/amira/written 2>/dev/null; then echo "the root is writable"; exit 1; fi
test "$(id -u)" = 10001
{try_it}
kill -TERM $server
wait $server
"""
_TRANSCRIBE = """
amira-asr transcribe {clip} > /tmp/text
echo "heard: $(cat /tmp/text)"
test "$(cat /tmp/text)" = {text}
"""


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "target",
        choices=["cpu", "gpu", "gateway"],
        help="gpu: the wheel's Triton stands in for NVIDIA's image; gateway: it has no server, and is only started",
    )
    parser.add_argument("--folder", type=Path, help="keep the stages here")
    arguments = parser.parse_args()
    dockerfile = Dockerfile(ROOT / "Dockerfile")
    with (ROOT / "tests" / "goldens" / "clips.jsonl").open(encoding="utf-8") as lines:
        golden = json.loads(next(lines))
    _, health = dockerfile.last(arguments.target, "HEALTHCHECK").value.split(" CMD ")
    transcribe = _TRANSCRIBE.format(clip=f"{_CLIPS}/{golden['path']}", text=shlex.quote(golden["text"]))
    script = _SCRIPT.format(
        health=shlex.join(json.loads(health)), try_it="" if arguments.target == "gateway" else transcribe
    )
    with tempfile.TemporaryDirectory() as temporary:
        # Another user must be able to look into it.
        Path(temporary).chmod(0o755)
        rehearsal = Rehearsal(dockerfile, ROOT, arguments.folder or Path(temporary) / "image")
        try:
            rehearsal.build(arguments.target)
        except (RehearsalError, subprocess.SubprocessError, FileNotFoundError) as error:
            print(error, file=sys.stderr)
            return 1
        return rehearsal.serve(arguments.target, script, {ROOT / "tests" / "data" / "audio": _CLIPS})


if __name__ == "__main__":
    sys.exit(main())
