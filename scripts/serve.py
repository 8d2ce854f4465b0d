"""Run the server in the foreground: `python -m scripts.serve`. Settings come from files and AMIRA_* variables.

A server that dies or hangs is started anew on the same ports; when that does not help, the exit status is 1.
Ctrl+C or SIGTERM: the server is not ready any more, nothing new is accepted, live streams and requests finish, then
Triton and every process it started are gone.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from amira_asr.setting_values import parse_interfaces, parse_recognisers
from amira_asr.settings import (
    Settings,
    SettingsError,
    load_recogniser_settings,
    load_settings,
    read_api_key,
    render_settings,
)
from scripts.serving.installation import TritonMissingError
from scripts.serving.limits import Limits
from scripts.serving.paths import PathError, check_file, check_repository_folder
from scripts.serving.ports import PortError, check_ports
from scripts.serving.profile import check_batches, check_graphs, check_profile
from scripts.serving.server import ServerStartError, TritonServer
from scripts.serving.server_options import ServerOptions, TlsFiles
from scripts.serving.staging import RepositorySettings, add_repository, stage_repository
from scripts.serving.supervisor import Supervisor, SupervisorOptions
from scripts.serving.tracing import Tracing

ROOT = Path(__file__).resolve().parents[1]
# A client sends a few chunks ahead of the responses.
_PENDING_PER_STREAM = 16
_PORTS = ("grpc_port", "http_port", "metrics_port")


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
        joint=settings.joint,
        max_batch_size=settings.max_batch_size,
        batch_window_ms=settings.batch_window_ms,
        execution=settings.execution,
        features_execution=settings.features_execution,
        precision=settings.precision,
        greedy_graph=not settings.profile,
        max_beam_size=settings.max_beam_size,
        language_model=settings.language_model,
        source_language_model=settings.source_language_model,
        lm_weight=settings.lm_weight,
        model_names=tuple((old, new) for old, new in names.items() if old != new),
        limits=Limits(
            max_concurrent_batches=settings.max_concurrent_batches,
            max_stream_secs=settings.max_stream_secs,
            max_streams_per_client=settings.max_streams_per_client,
            rate_limit=settings.rate_limit or None,
            max_parameter_bytes=settings.max_parameter_bytes,
        ),
        copy_files=settings.model_control == "explicit",
    )


def tls_files(settings: Settings) -> TlsFiles | None:
    """Return the server's TLS files; None without a certificate. Raises SettingsError, PathError."""
    certificate, key, client_ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise SettingsError(
            "settings 'tls_certificate' and 'tls_key' should be given together, 'tls_client_ca' with both"
        )
    if "http-inference" in parse_interfaces(settings.open_interfaces):
        raise SettingsError("setting 'open_interfaces' has http-inference, which has no TLS; it should not with TLS")
    return TlsFiles(
        check_file("tls_certificate", ROOT / certificate),
        check_file("tls_key", ROOT / key, secret=True),
        check_file("tls_client_ca", ROOT / client_ca) if client_ca is not None else None,
    )


def check_paths(settings: Settings) -> None:
    """Look at the files and folders that settings name. Raises PathError."""
    check_repository_folder("model_repository", ROOT / settings.model_repository)
    for repository in parse_recognisers(settings.recognisers).values():
        check_repository_folder("recognisers", ROOT / repository)
    for name in ("vocabulary_path", "language_model", "source_language_model"):
        file = getattr(settings, name)
        if file is not None:
            check_file(name, file)
    if settings.api_key_file is not None:
        check_file("api_key_file", settings.api_key_file, secret=True)


def server_from(
    settings: Settings, runtime_folder: Path, config_dir: Path, *, log_to_file: bool = True
) -> TritonServer:
    """Stage the recognisers below `runtime_folder` and return a server for them, not started yet."""
    staged = runtime_folder / "model-repo"
    check_paths(settings)
    # Joining a path that is absolute gives that path.
    check_profile(ROOT / settings.model_repository, settings.profile)
    check_graphs(ROOT / settings.model_repository, settings.precision, settings.execution, settings.profile)
    check_batches(settings.max_batch_size, settings.profile)
    stage_repository(ROOT / settings.model_repository, staged, repository_settings(settings))
    for name, repository in parse_recognisers(settings.recognisers).items():
        own = repository_settings(load_recogniser_settings(config_dir, ROOT / repository))
        add_repository(ROOT / repository, staged, replace(own, prefix=f"{name}."))
    options = ServerOptions(
        model_repository=staged,
        runtime_folder=runtime_folder,
        host=settings.host,
        grpc_port=settings.grpc_port,
        http_port=settings.http_port,
        metrics_port=settings.metrics_port,
        profile=settings.profile,
        start_timeout_secs=settings.start_timeout_secs,
        drain_timeout_secs=settings.shutdown_timeout_secs,
        log_level=settings.log_level,
        log_format=settings.log_format,
        tracing=Tracing(settings.tracing_endpoint, settings.tracing_rate),
        model_control=settings.model_control == "explicit",
        open_interfaces=parse_interfaces(settings.open_interfaces),
        api_key=read_api_key(settings),
        tls=tls_files(settings),
        log_to_file=log_to_file,
    )
    return TritonServer(options)


def main() -> int:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-dir", type=Path, default=ROOT, help="folder with config.toml and config.yaml")
    parser.add_argument("--print-config", action="store_true", help="show the effective settings and stop")
    parser.add_argument("--runtime-dir", type=Path, default=ROOT / "run" / "serve", help="staged models and the log")
    parser.add_argument("--log-to-terminal", action="store_true", help="Triton's log, too, as containers want it")
    arguments = parser.parse_args()
    try:
        settings = load_settings(arguments.config_dir)
        if arguments.print_config:
            print(render_settings(arguments.config_dir))
            return 0
        arguments.runtime_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Held until this process ends. A second server here would stage its models over those of the first.
        own = FileLock(arguments.runtime_dir / ".lock", timeout=0)
        own.acquire()
        check_ports(settings.host, {name: getattr(settings, name) for name in _PORTS})
        server = server_from(
            settings, arguments.runtime_dir, arguments.config_dir, log_to_file=not arguments.log_to_terminal
        )
    except Timeout:
        print(f"{arguments.runtime_dir} is that of a server that runs: stop it, or give --runtime-dir", file=sys.stderr)
        return 1
    except (SettingsError, PathError, PortError, FileNotFoundError, FileExistsError, TritonMissingError) as error:
        print(error, file=sys.stderr)
        return 1
    return _run(server, supervisor_of(server, settings))


def supervisor_of(server: TritonServer, settings: Settings) -> Supervisor:
    """Return who starts the server, and starts it anew when it must be."""
    options = SupervisorOptions(
        watchdog_secs=settings.watchdog_secs,
        max_restarts=settings.max_restarts,
        max_pending=settings.max_pending_requests or _PENDING_PER_STREAM * settings.max_concurrent_streams,
    )
    return Supervisor(server, options, lambda text: print(text, file=sys.stderr, flush=True))


def _run(server: TritonServer, supervisor: Supervisor) -> int:
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, _stop)
    try:
        print(f"starting tritonserver; log: {server.log_path if server.options.log_to_file else 'here'}", flush=True)
        supervisor.start()
        print(f"ready: gRPC {server.grpc_endpoint}, HTTP port {server.http_port}, metrics {server.metrics_url}")
        if server.options.api_key is not None and not server.keys_are_hidden:
            print(
                "users of this machine can see the API key with ps: this kernel does not let it be hidden",
                file=sys.stderr,
            )
        print("Ctrl+C stops", flush=True)
        supervisor.run()
    except ServerStartError as error:
        print(error, file=sys.stderr)
    except _Stopped:
        print("stopping: streams and requests may finish first; Ctrl+C again stops at once", flush=True)
        return _drain(server, supervisor)
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        if server.is_running and server.stop() is None:
            print("tritonserver did not stop in time and was killed", file=sys.stderr)
    return 1


def _drain(server: TritonServer, supervisor: Supervisor) -> int:
    try:
        supervisor.stop_watching()
        if server.is_running and not server.drain():
            print("not everything had finished in time", file=sys.stderr)
    except _Stopped:
        print("stopping at once", flush=True)
    return 0


class _Stopped(Exception):
    """A signal asked us to stop."""


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _Stopped


if __name__ == "__main__":
    sys.exit(main())
