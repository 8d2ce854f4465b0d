"""`amira-asr transcribe`: many files at a time, with a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from amira_asr.audio import AudioError
from amira_asr.client import AsrClient
from amira_asr.errors import AmiraError
from amira_asr.events import Final
from amira_asr.output import OutputFormat, write
from amira_asr.settings import Settings


def transcribe_files(
    settings: Settings, files: Sequence[Path], form: OutputFormat, output_dir: Path | None, workers: int
) -> int:
    """Recognise files and write the transcripts in the order of the files.

    Args:
        settings: where the server is.
        files: audio files.
        form: of the transcripts.
        output_dir: folder for one file each; None writes to standard output.
        workers: files at a time.

    Returns:
        How many files failed; each is named on standard error with the reason.
    """
    if output_dir is not None:
        output_dir.mkdir(parents=True, exist_ok=True)
    progress = Progress(
        TextColumn("transcribing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with AsrClient(settings) as client, ThreadPoolExecutor(workers) as pool, progress:
        futures = [pool.submit(client.transcribe, path) for path in files]
        bar = progress.add_task("files", total=len(files))
        for _ in as_completed(futures):
            progress.advance(bar)
    return sum(
        not _deliver(path, future, form, output_dir, several=len(files) > 1)
        for path, future in zip(files, futures, strict=True)
    )


def _deliver(path: Path, future: Future[Final], form: OutputFormat, output_dir: Path | None, *, several: bool) -> bool:
    """Write one transcript; return whether there was one."""
    try:
        content = write(future.result(), form, str(path))
    except (AmiraError, AudioError) as error:
        print(f"amira-asr: {path}: {error}", file=sys.stderr)
        return False
    if output_dir is not None:
        (output_dir / f"{path.stem}.{form.value}").write_text(content + "\n", encoding="utf-8")
    elif several and form is OutputFormat.TEXT:
        print(f"{path}\t{content}")
    else:
        print(content)
    return True
