"""The command `amira-asr`: stream, transcribe, batch, models, config."""

from __future__ import annotations

import asyncio
import importlib.metadata
import signal
import sys
import threading
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

from amira_asr import tracing
from amira_asr.audio import MODEL_SAMPLE_RATE
from amira_asr.cli_batch import transcribe_batch
from amira_asr.cli_decoding import takes_decoding_options
from amira_asr.cli_stream import StreamView, audio_source
from amira_asr.cli_transcribe import plan, transcribe_files
from amira_asr.client import AsrClient
from amira_asr.errors import AmiraError
from amira_asr.options import DecodingOptions
from amira_asr.output import OutputFormat
from amira_asr.settings import SettingsError, load_settings, render_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Endpoint = Annotated[Optional[str], typer.Option(help="host:port of Triton's gRPC service; several with commas")]  # noqa: UP045  typer, 3.10
Model = Annotated[Optional[str], typer.Option(help="which recogniser: a name that `models` shows")]  # noqa: UP045
ConfigDir = Annotated[Path, typer.Option(help="folder with config.toml and config.yaml")]
HERE = Path()


class PcmFormat(str, Enum):
    """Raw samples: 16-bit integers or 32-bit floats, little-endian."""

    S16LE = "s16le"
    F32LE = "f32le"


@app.callback(invoke_without_command=True)
def root(
    *,
    print_config: Annotated[bool, typer.Option("--print-config", help="show the effective settings and stop")] = False,
    version: Annotated[bool, typer.Option("--version", help="show the version and stop")] = False,
) -> None:
    """Speech recognition by a server that lives inside NVIDIA Triton."""
    if version:
        print(f"amira-asr {importlib.metadata.version('amira-asr')}")
        raise typer.Exit
    if print_config:
        print(render_settings())
        raise typer.Exit


@app.command()
def config(config_dir: ConfigDir = HERE) -> None:
    """Show the effective settings, and where each comes from."""
    print(render_settings(config_dir))


@app.command()
def models(endpoint: Endpoint = None, config_dir: ConfigDir = HERE) -> None:
    """Show the recognisers of the server."""
    settings = load_settings(config_dir, triton_endpoint=endpoint)
    table = Table(box=None, pad_edge=False)
    for column in ("name", "version", "ready", "kind", "rate", "chunk"):
        table.add_column(column, no_wrap=True)
    table.add_column("longest")
    with AsrClient(settings) as client:
        for model in client.models():
            limit = "unlimited" if model.max_audio_secs is None else f"{model.max_audio_secs:g} s, then split"
            kind = "streaming" if model.streaming else "batch"
            chunk = f"{model.chunk_ms:g} ms" if model.streaming else "-"
            ready = "yes" if model.ready else "no"
            table.add_row(model.name, model.version, ready, kind, f"{model.sample_rate} Hz", chunk, limit)
    Console().print(table)


@app.command()
@takes_decoding_options(streams=True)
def stream(
    source: Annotated[str, typer.Argument(help="an audio file, - for raw PCM on standard input, or mic")],
    *,
    endpoint: Endpoint = None,
    model: Model = None,
    config_dir: ConfigDir = HERE,
    fast: Annotated[bool, typer.Option("--fast", help="send a file as fast as the server takes it")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line for every event")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="print latencies at the end")] = False,
    rate: Annotated[int, typer.Option(help="sample rate of raw PCM, Hz")] = MODEL_SAMPLE_RATE,
    channels: Annotated[int, typer.Option(min=1, max=64, help="channels of raw PCM")] = 1,
    pcm_format: Annotated[PcmFormat, typer.Option("--format", help="of raw PCM")] = PcmFormat.S16LE,
    options: DecodingOptions,
) -> None:
    """Recognise speech while it comes: partial text grows on one line, then the final text.

    Ctrl+C ends the audio; the final text still comes. Twice stops at once.
    """
    settings = load_settings(config_dir, triton_endpoint=endpoint, streaming_model_name=model)
    tracing.configure(settings.tracing_endpoint)
    audio = audio_source(source, _stop_on_interrupt(), paced=not fast)
    raw = source == "-"
    with AsrClient(settings) as client, StreamView(as_json=as_json) as view:
        for event in client.stream(
            audio,
            sample_rate=rate if raw else MODEL_SAMPLE_RATE,
            sample_format=pcm_format.value,
            channels=channels if raw else 1,
            options=options,
        ):
            view.show(event)
    if stats:
        print(view.statistics(), file=sys.stderr)


def _stop_on_interrupt() -> threading.Event:
    """Return what the first Ctrl+C sets; the second one interrupts."""
    stop = threading.Event()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, handle)
    return stop


@app.command()
@takes_decoding_options(streams=False)
def transcribe(
    files: Annotated[list[str], typer.Argument(help="audio files, folders of them, patterns such as '*.mp3'")],
    *,
    endpoint: Endpoint = None,
    model: Model = None,
    config_dir: ConfigDir = HERE,
    output_format: Annotated[OutputFormat, typer.Option("--format", help="of the transcripts")] = OutputFormat.TEXT,
    output_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="write one file per recording there, not to standard output"),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="files at a time")] = 4,
    vad: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="who hears where to split long recordings: auto, local or server"),
    ] = None,
    options: DecodingOptions,
) -> None:
    """Recognise whole recordings, several at a time. A file that fails does not stop the others."""
    settings = load_settings(config_dir, triton_endpoint=endpoint, batch_model_name=model, vad=vad)
    tracing.configure(settings.tracing_endpoint)
    try:
        jobs = plan(files, output_format, output_dir)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if asyncio.run(transcribe_files(settings, jobs, output_format, workers, options)):
        raise typer.Exit(1)


@app.command()
@takes_decoding_options(streams=False)
def batch(
    sources: Annotated[
        list[str], typer.Argument(help="folders, audio files, patterns, NeMo manifests (.jsonl, .json)")
    ],
    *,
    out: Annotated[Path, typer.Option(help="folder for the results; that of an earlier run goes on with it")],
    endpoint: Endpoint = None,
    model: Model = None,
    config_dir: ConfigDir = HERE,
    output_format: Annotated[
        Optional[OutputFormat],  # noqa: UP045
        typer.Option("--format", help="write one file per recording below transcripts/, too"),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="files at a time")] = 4,
    retries: Annotated[int, typer.Option(min=0, max=100, help="of a file, while the server cannot do it for now")] = 5,
    options: DecodingOptions,
) -> None:
    """Recognise thousands of recordings into a manifest; run it again after a crash, and it goes on.

    Exit status: 0 all done, 1 some failed (failed.jsonl has the reasons), 3 the server went away before the end.
    """
    settings = load_settings(config_dir, triton_endpoint=endpoint, batch_model_name=model)
    status = transcribe_batch(
        settings, sources, out, form=output_format, workers=workers, retries=retries, options=options
    )
    if status:
        raise typer.Exit(status)


def main() -> None:
    """Run the command; an expected error is one line on standard error, and exit status 1."""
    try:
        app()
    except (AmiraError, SettingsError) as error:
        print(f"amira-asr: {error}", file=sys.stderr)
        partial = error.partial if isinstance(error, AmiraError) else None
        if partial is not None and partial.text:
            print(f"recognised before that: {partial.text}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
