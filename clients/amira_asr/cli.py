"""The command `amira-asr`: stream, transcribe, models, config."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

from amira_asr.audio import MODEL_SAMPLE_RATE, AudioError
from amira_asr.cli_stream import StreamView, audio_source
from amira_asr.cli_transcribe import transcribe_files
from amira_asr.client import AsrClient
from amira_asr.errors import AmiraError
from amira_asr.output import OutputFormat
from amira_asr.settings import Settings, SettingsError, load_settings, render_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Endpoint = Annotated[Optional[str], typer.Option(help="host:port of Triton's gRPC service")]  # noqa: UP045  typer, 3.10
ConfigDir = Annotated[Path, typer.Option(help="folder with config.toml and config.yaml")]
HERE = Path()


@app.callback(invoke_without_command=True)
def root(
    *,
    print_config: Annotated[bool, typer.Option("--print-config", help="show the effective settings and stop")] = False,
) -> None:
    """Speech recognition by a server that lives inside NVIDIA Triton."""
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
    settings = _settings(endpoint, config_dir)
    table = Table("name", "version", "kind", "sample rate", "chunk", "longest recording")
    with AsrClient(settings) as client:
        for model in client.models():
            limit = "unlimited" if model.max_audio_secs is None else f"{model.max_audio_secs:g} s (longer is split)"
            kind = "streaming" if model.streaming else "batch"
            chunk = f"{model.chunk_ms:g} ms" if model.streaming else "-"
            table.add_row(model.name, model.version, kind, f"{model.sample_rate} Hz", chunk, limit)
    Console().print(table)


@app.command()
def stream(
    source: Annotated[str, typer.Argument(help="an audio file, - for raw PCM on standard input, or mic")],
    *,
    endpoint: Endpoint = None,
    config_dir: ConfigDir = HERE,
    fast: Annotated[bool, typer.Option("--fast", help="send a file as fast as the server takes it")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line for every event")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="print latencies at the end")] = False,
    rate: Annotated[int, typer.Option(help="sample rate of raw PCM, Hz")] = MODEL_SAMPLE_RATE,
    channels: Annotated[int, typer.Option(min=1, max=64, help="channels of raw PCM")] = 1,
    pcm_format: Annotated[str, typer.Option("--format", help="of raw PCM: s16le or f32le")] = "s16le",
) -> None:
    """Recognise speech while it comes: partial text grows on one line, then the final text."""
    settings = _settings(endpoint, config_dir)
    audio = audio_source(source, paced=not fast, rate=rate, channels=channels, pcm_format=pcm_format)
    view = StreamView(as_json=as_json)
    with AsrClient(settings) as client:
        for event in client.stream(audio):
            view.show(event)
    if stats:
        print(view.statistics(), file=sys.stderr)


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="audio files")],
    *,
    endpoint: Endpoint = None,
    config_dir: ConfigDir = HERE,
    output_format: Annotated[OutputFormat, typer.Option("--format", help="of the transcripts")] = OutputFormat.TEXT,
    output_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="write FILE.<format> there instead of to standard output"),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="files at a time")] = 4,
) -> None:
    """Recognise whole recordings, several at a time. A file that fails does not stop the others."""
    failed = transcribe_files(_settings(endpoint, config_dir), files, output_format, output_dir, workers)
    if failed:
        raise typer.Exit(1)


def _settings(endpoint: str | None, config_dir: Path) -> Settings:
    settings = load_settings(config_dir)
    if endpoint is None:
        return settings
    return Settings.model_validate({**settings.model_dump(), "triton_endpoint": endpoint})


def main() -> None:
    """Run the command; an expected error is one line on standard error, and exit status 1."""
    try:
        app()
    except (AmiraError, AudioError, SettingsError) as error:
        print(f"amira-asr: {error}", file=sys.stderr)
        partial = error.partial if isinstance(error, AmiraError) else None
        if partial is not None and partial.text:
            print(f"recognised before that: {partial.text}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
