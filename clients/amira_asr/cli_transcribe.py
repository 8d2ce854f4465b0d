"""`amira-asr transcribe`: many files at a time, with a progress bar."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from amira_asr.aio import AsyncAsrClient
from amira_asr.errors import AmiraError
from amira_asr.options import NO_OPTIONS, DecodingOptions
from amira_asr.output import OutputFormat, write
from amira_asr.recordings import find_recordings
from amira_asr.settings import Settings


@dataclass(frozen=True)
class Job:
    """One recording to transcribe.

    Attributes:
        source: the audio file.
        target: file to write; None for standard output.
    """

    source: Path
    target: Path | None


def plan(names: Sequence[str], form: OutputFormat, output_dir: Path | None) -> list[Job]:
    """Return what is to be done, in order.

    Args:
        names: files, folders (all audio below them) and glob patterns.
        form: of the transcripts.
        output_dir: folder for one file each; None for standard output.

    Raises:
        ValueError: a folder without audio; transcripts would overwrite each other; several subtitle files would run
            together.
    """
    sources = [path for name in names for path in find_recordings(name)]
    if output_dir is None:
        if len(sources) > 1 and form in (OutputFormat.SRT, OutputFormat.VTT):
            raise ValueError(f"{len(sources)} recordings as {form.value} need --output-dir: one subtitle file each")
        return [Job(source, None) for source in sources]
    jobs = [Job(source, output_dir / (source.stem + form.extension)) for source in sources]
    [(target, count)] = Counter(job.target for job in jobs).most_common(1)
    if count > 1:
        clashing = ", ".join(str(job.source) for job in jobs if job.target == target)
        raise ValueError(f"{target} would hold the transcripts of {count} recordings: {clashing}")
    return jobs


async def transcribe_files(
    settings: Settings, jobs: Sequence[Job], form: OutputFormat, workers: int, options: DecodingOptions = NO_OPTIONS
) -> int:
    """Transcribe recordings, `workers` at a time. Files are written at once, standard output in order at the end.

    Returns:
        How many failed; each is named on standard error with the reason.
    """
    progress = Progress(
        TextColumn("transcribing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
    )
    bar = progress.add_task("files", total=len(jobs))
    turn = asyncio.Semaphore(workers)
    async with AsyncAsrClient(settings) as client:

        async def do(job: Job) -> str:
            try:
                async with turn:
                    content = write(await client.transcribe(job.source, options=options), form, str(job.source))
                if job.target is not None:
                    job.target.parent.mkdir(parents=True, exist_ok=True)
                    job.target.write_text(content + "\n", encoding="utf-8")
                return content
            finally:
                progress.advance(bar)

        with progress:
            results = await asyncio.gather(*map(do, jobs), return_exceptions=True)
    return sum(not _report(job, result, form, several=len(jobs) > 1) for job, result in zip(jobs, results, strict=True))


def _report(job: Job, result: str | BaseException, form: OutputFormat, *, several: bool) -> bool:
    """Print one transcript, or why there is none; return whether there is one."""
    if isinstance(result, (AmiraError, OSError)):
        reason = str(result)
        shown = reason if reason.startswith(str(job.source)) else f"{job.source}: {reason}"
        print(f"amira-asr: {shown}", file=sys.stderr)
        return False
    if isinstance(result, BaseException):
        raise result
    if job.target is None:
        print(f"{job.source}\t{result}" if several and form is OutputFormat.TEXT else result)
    return True
