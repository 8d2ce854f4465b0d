"""`amira-asr batch`: progress with the time left, and what came of it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from amira_asr.batch.items import Item, common_folder, read_items
from amira_asr.batch.results import Results, ResultsError
from amira_asr.batch.runner import Report, run_batch
from amira_asr.options import DecodingOptions
from amira_asr.output import OutputFormat
from amira_asr.settings import Settings

_SHOWN_FAILURES = 20
# Without a terminal a line comes this often.
_LINE_SECS = 60.0


def transcribe_batch(
    settings: Settings,
    sources: Sequence[str],
    out: Path,
    *,
    form: OutputFormat | None,
    workers: int,
    retries: int,
    options: DecodingOptions,
) -> int:
    """Recognise all that is not done yet; return the exit status.

    Raises:
        typer.BadParameter: sources without audio, a wrong manifest, a folder of results that is something else.
    """
    try:
        items = read_items(sources)
        made_with = {
            "model": settings.batch_model_name,
            "options": options.parameters(),
            "format": None if form is None else form.value,
        }
        with Results(out, made_with, form, common_folder(items)) as results:
            before = sum(item.key in results.done for item in items)
            if before:
                print(f"{before} of {len(items)} recordings are done already", file=sys.stderr)
            with BatchView(len(items), before) as view:
                report = asyncio.run(
                    run_batch(
                        settings,
                        items,
                        results,
                        workers=workers,
                        retries=retries,
                        options=options,
                        progress=view.show,
                    )
                )
    except (ResultsError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    except KeyboardInterrupt:
        print("amira-asr: stopped; the same command goes on from here", file=sys.stderr)
        raise
    return _conclude(report, out)


class BatchView:
    """A progress bar on a terminal, a line now and then elsewhere; both on standard error."""

    def __init__(self, total: int, done: int) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("recognising"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("files", total=total, completed=done, speed="")
        self._said = time.monotonic()

    def __enter__(self) -> BatchView:
        """Begin to show."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        self._progress.stop()

    def show(self, item: Item, report: Report) -> None:
        """Show that an item is done or has failed."""
        speed = f"{report.speed:.1f} × real time"
        if report.failed:
            speed += f", {len(report.failed)} failed"
        self._progress.update(self._task, advance=1, speed=speed)
        if not self._console.is_terminal and time.monotonic() > self._said + _LINE_SECS:
            self._said = time.monotonic()
            elapsed = self._said - report.began
            left = elapsed / (report.items - report.left) * report.left
            print(
                f"{report.items - report.left} of {report.items}, {speed}, {left / 60:.0f} min left ({item.path.name})",
                file=sys.stderr,
            )


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 100 else f"{seconds:.0f} s"


def _conclude(report: Report, out: Path) -> int:
    """Print what came of a run; return the exit status."""
    for item, reason in report.failed[:_SHOWN_FAILURES]:
        print(f"amira-asr: {item.path}: {reason}", file=sys.stderr)
    if len(report.failed) > _SHOWN_FAILURES:
        more = len(report.failed) - _SHOWN_FAILURES
        print(f"amira-asr: and {more} more, in {out / 'failed.jsonl'}", file=sys.stderr)
    seconds = time.monotonic() - report.began
    print(
        f"{report.done} recordings, {_duration(report.audio_secs)} of audio in {_duration(seconds)}: "
        f"{report.speed:.1f} × real time; {len(report.failed)} failed; {out / 'manifest.jsonl'}"
    )
    if report.stopped_by is not None:
        print(
            f"amira-asr: {report.stopped_by}\namira-asr: {report.left} recordings are left; "
            "the same command goes on with them",
            file=sys.stderr,
        )
        return 3
    return 1 if report.failed else 0
