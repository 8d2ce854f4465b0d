"""Run the server in the foreground: `python -m scripts.serve`. Settings come from files and AMIRA_* variables.

Ctrl+C or SIGTERM: Triton finishes the requests in flight, then it and every process it started are gone.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from amira_asr.settings import Settings, load_settings, render_settings

from scripts.serving.installation import TritonMissingError
from scripts.serving.server import ServerOptions, ServerStartError, TritonServer
from scripts.serving.staging import RepositorySettings, stage_repository

ROOT = Path(__file__).resolve().parents[1]


def repository_settings(settings: Settings) -> RepositorySettings:
    """Return the part of the settings that goes into the model repository."""
    names = {
        "preprocessor": settings.preprocessor_model_name,
        "encoder": settings.encoder_model_name,
        "decoder_joint": settings.decoder_joint_model_name,
        "asr_streaming": settings.streaming_model_name,
        "asr_batch": settings.batch_model_name,
    }
    return RepositorySettings(
        max_concurrent_streams=settings.max_concurrent_streams,
        max_batch_audio_secs=settings.max_batch_audio_length_secs,
        max_symbols_per_step=settings.max_symbols_per_step,
        max_total_tokens=settings.max_total_tokens,
        stream_timeout_secs=settings.stream_timeout_secs,
        vocabulary=settings.vocabulary_path,
        model_names=tuple((old, new) for old, new in names.items() if old != new),
    )


def server_from(settings: Settings, runtime_folder: Path, *, log_to_file: bool) -> TritonServer:
    """Stage the repository below `runtime_folder` and return a server for it, not started yet."""
    staged = runtime_folder / "model-repo"
    repository = settings.model_repository
    stage_repository(
        repository if repository.is_absolute() else ROOT / repository, staged, repository_settings(settings)
    )
    options = ServerOptions(
        model_repository=staged,
        runtime_folder=runtime_folder,
        host=settings.host,
        grpc_port=settings.grpc_port,
        http_port=settings.http_port,
        metrics_port=settings.metrics_port,
        profile=settings.profile,
        exit_timeout_secs=round(settings.shutdown_timeout_secs),
        log_to_file=log_to_file,
    )
    return TritonServer(options)


def main() -> int:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-dir", type=Path, default=ROOT, help="folder with config.toml and config.yaml")
    parser.add_argument("--print-config", action="store_true", help="show the effective settings and stop")
    arguments = parser.parse_args()
    settings = load_settings(arguments.config_dir)
    if arguments.print_config:
        print(render_settings(arguments.config_dir))
        return 0
    runtime_folder = ROOT / "run" / "serve"
    runtime_folder.mkdir(parents=True, exist_ok=True)
    try:
        server = server_from(settings, runtime_folder, log_to_file=True)
    except (FileNotFoundError, TritonMissingError) as error:
        print(error, file=sys.stderr)
        return 1
    return _run(server)


def _run(server: TritonServer) -> int:
    class Stopped(Exception):  # noqa: N818  a signal, not an error
        pass

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise Stopped

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)
    status: int | None = 1
    try:
        server.start()
        print(f"starting tritonserver; log: {server.log_path}")
        server.wait_ready()
        print(f"ready: gRPC {server.grpc_endpoint}, HTTP port {server.http_port}, metrics {server.metrics_url}")
        print("Ctrl+C stops", flush=True)
        status = server.wait()
        print(f"tritonserver ended by itself with status {status}\n{server.log_tail()}", file=sys.stderr)
        status = status or 1
    except ServerStartError as error:
        print(error, file=sys.stderr)
    except Stopped:
        print("stopping: finishing the requests in flight", flush=True)
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        stopped = server.stop()
        if stopped is not None:
            status = stopped
    return status if status is not None else 1


if __name__ == "__main__":
    sys.exit(main())
