"""Faults, one after the other, on a real server with many callers: `python -m loadtest.chaos`.

Prints for each scenario how many streams ended with the words of an undisturbed run, what was lost or doubled, how
long callers waited, and what the server's processes hold before and after. The exit status is 0 when nothing was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from loadtest.chaos.report import print_head, print_outcome, print_totals, totals
from loadtest.chaos.scenarios import SCENARIOS
from loadtest.chaos.site import Site
from loadtest.chaos.speech import Script, turns
from loadtest.chaos.stage import WATCHDOG_SECS, Outcome, Stage
from scripts.measurement import write_measurement

IDLE_SECS = 5.0


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=50, help="callers of a scenario (default 50)")
    parser.add_argument("--speed", type=float, default=1.0, help="of their speech (default 1, as people speak)")
    parser.add_argument(
        "--only", nargs="+", choices=sorted(SCENARIOS), metavar="SCENARIO", help="these scenarios alone"
    )
    parser.add_argument("--list", action="store_true", help="print the scenarios and stop")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    if arguments.list:
        for name, play in SCENARIOS.items():
            print(f"{name}: {play.__doc__}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers do not outlive the run
    names = arguments.only or list(SCENARIOS)
    outcomes = asyncio.run(play_all(names, arguments.streams, arguments.speed))
    print_totals(outcomes)
    if arguments.out:
        figures = {"scenarios": [outcome.figures() for outcome in outcomes], "totals": totals(outcomes)}
        write_measurement(arguments.out, {"streams": arguments.streams, "speed": arguments.speed, **figures})
    return 1 if any(outcome.problems for outcome in outcomes) else 0


async def play_all(names: list[str], streams: int, speed: float) -> list[Outcome]:
    """Play scenarios on one server; return what came of them."""
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        site = Site(
            Path(folder), max_concurrent_streams=4000, stream_timeout_secs=IDLE_SECS, watchdog_secs=WATCHDOG_SECS
        )
        async with site:
            stage = Stage(Path(folder), site, await Script.heard_in_peace(site.endpoint, turns()), streams, speed)
            print_head()
            for name in names:
                outcome = await _play(name, stage)
                print_outcome(outcome)
                outcomes.append(outcome)
    return outcomes


async def _play(name: str, stage: Stage) -> Outcome:
    try:
        return await SCENARIOS[name](stage)
    except Exception as error:  # the others are played all the same
        traceback.print_exc()
        return Outcome(name, problems=[f"not finished: {type(error).__name__}: {error}"])


if __name__ == "__main__":
    sys.exit(main())
