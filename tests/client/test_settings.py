"""Layers of settings, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from amira_asr.setting_values import parse_interfaces, parse_recognisers
from amira_asr.settings import SettingsError, load_recogniser_settings, load_settings, render_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.upper().startswith("AMIRA_")]:
        monkeypatch.delenv(name)


def test_defaults(tmp_path):
    settings = load_settings(tmp_path)
    assert settings.triton_endpoint == "localhost:8001"
    assert settings.vocabulary_path is None


def test_environment_beats_yaml_beats_toml(tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("max_symbols_per_step = 1\nmax_total_tokens = 1\ngrpc_port = 1\n")
    (tmp_path / "config.yaml").write_text("max_total_tokens: 2\ngrpc_port: 2\n")
    monkeypatch.setenv("AMIRA_GRPC_PORT", "3")
    settings = load_settings(tmp_path)
    assert (settings.max_symbols_per_step, settings.max_total_tokens, settings.grpc_port) == (1, 2, 3)
    rendered = render_settings(tmp_path)
    assert "max_symbols_per_step = 1  # config.toml" in rendered
    assert "max_total_tokens = 2  # config.yaml" in rendered
    assert "grpc_port = 3  # environment" in rendered
    assert "http_port = 8000  # default" in rendered


@pytest.mark.parametrize("name", ["config.toml", "config.yaml"])
def test_an_unknown_key_is_refused_with_the_nearest(tmp_path, name):
    line = "max_total_token = 5" if name.endswith("toml") else "max_total_token: 5"
    (tmp_path / name).write_text(line + "\n")
    with pytest.raises(SettingsError, match=rf"{name}: unknown setting 'max_total_token'; did you mean 'max_total_tok"):
        load_settings(tmp_path)


def test_an_unknown_variable_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("AMIRA_ZZZ", "1")
    with pytest.raises(SettingsError, match="unknown setting 'AMIRA_ZZZ'; allowed: triton_endpoint"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AMIRA_MAX_CONCURRENT_STREAMS", "0", "'0'; it should be greater than or equal to 1"),
        ("AMIRA_STREAM_TIMEOUT_SECS", "soon", "'soon'; it should be a valid number"),
        ("AMIRA_INFERENCE_TIMEOUT_SECS", "nan", "'nan'; it should be less than or equal to 3600"),
        ("AMIRA_EXECUTION", "cuda", "'cuda'; it should be cpu, torch:cuda, onnxruntime:cuda"),
        ("AMIRA_PROFILE", "gpu", "'gpu'; it should be '', 'onnxruntime' or 'tensorrt'"),
        ("AMIRA_TRITON_ENDPOINT", "http://localhost", "'http://localhost'; it should be host:port"),
        ("AMIRA_TRITON_ENDPOINT", "localhost:0", "'localhost:0'; it should be host:port"),
        ("AMIRA_TRITON_ENDPOINT", "::1:8001", "'::1:8001'; it should be host:port"),
        ("AMIRA_GRPC_PORT", "70000", "less than or equal to 65535"),
        ("AMIRA_ENCODER_MODEL_NAME", "../etc", "'../etc'"),
        ("AMIRA_RATE_LIMIT", "often", "'often'; it should be requests/second"),
        ("AMIRA_RATE_LIMIT", "0/minute", "'0/minute'; it should be requests/second"),
        ("AMIRA_MAX_STREAM_SECS", "0", "'0'; it should be greater than 0"),
        ("AMIRA_MAX_CONCURRENT_BATCHES", "0", "'0'; it should be greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(tmp_path, monkeypatch, variable, value, message):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path)
    assert f"environment: setting '{variable}' is" in str(caught.value)
    assert message in str(caught.value)


def test_every_problem_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("AMIRA_GRPC_PORT", "-1")
    monkeypatch.setenv("AMIRA_HTTP_PORT", "-1")
    with pytest.raises(SettingsError, match=r"AMIRA_GRPC_PORT[\s\S]*AMIRA_HTTP_PORT"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.toml", "this is not toml"),
        ("config.yaml", "- a\n- list"),
        ("config.yaml", "grpc_port: [1"),
        ("config.yaml", "just text"),
        ("config.yaml", "1: 2"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=rf"{name} does not parse"):
        load_settings(tmp_path)


def test_an_empty_file_says_nothing(tmp_path):
    (tmp_path / "config.yaml").write_text("# nothing yet\n")
    (tmp_path / "config.toml").write_text("")
    assert load_settings(tmp_path) == load_settings(tmp_path / "elsewhere")


def test_true_is_no_number(tmp_path):
    (tmp_path / "config.yaml").write_text("max_concurrent_streams: yes\n")
    with pytest.raises(SettingsError, match=r"config.yaml: setting 'max_concurrent_streams' is True"):
        load_settings(tmp_path)


@pytest.mark.parametrize("endpoint", ["[::1]:8001", "asr.example.org:443", "10.0.0.1:65535"])
def test_endpoints(tmp_path, endpoint):
    assert load_settings(tmp_path, triton_endpoint=endpoint).triton_endpoint == endpoint


def test_what_is_given_beats_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("AMIRA_TRITON_ENDPOINT", "a:1")
    assert load_settings(tmp_path, triton_endpoint="b:2").triton_endpoint == "b:2"
    assert load_settings(tmp_path, triton_endpoint=None).triton_endpoint == "a:1"
    with pytest.raises(SettingsError, match="command line: setting 'grpc_port' is -1"):
        load_settings(tmp_path, grpc_port=-1)


def test_variables_in_lower_case_count_too(tmp_path, monkeypatch):
    monkeypatch.setenv("amira_grpc_port", "3")
    assert "grpc_port = 3  # environment" in render_settings(tmp_path)


def test_what_is_rendered_can_be_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("AMIRA_VOCABULARY_PATH", 'odd "name" \\ here.txt')
    (tmp_path / "config.toml").write_text(render_settings(tmp_path))
    expected = load_settings(tmp_path)
    monkeypatch.delenv("AMIRA_VOCABULARY_PATH")
    assert load_settings(tmp_path) == expected


def test_settings_cannot_be_changed(tmp_path):
    settings = load_settings(tmp_path)
    with pytest.raises(Exception, match="frozen"):
        settings.grpc_port = 1


def test_interfaces(tmp_path, monkeypatch):
    assert parse_interfaces(load_settings(tmp_path).open_interfaces) == frozenset()
    monkeypatch.setenv("AMIRA_OPEN_INTERFACES", "shared-memory, trace")
    assert parse_interfaces(load_settings(tmp_path).open_interfaces) == {"shared-memory", "trace"}
    monkeypatch.setenv("AMIRA_OPEN_INTERFACES", "http")
    with pytest.raises(SettingsError, match=r"should be some of http-inference, statistics.*not 'http'"):
        load_settings(tmp_path)


def test_recognisers(tmp_path, monkeypatch):
    monkeypatch.setenv("AMIRA_RECOGNISERS", "zipformer=work/z, big = /models/big")
    settings = load_settings(tmp_path)
    assert parse_recognisers(settings.recognisers) == {"zipformer": Path("work/z"), "big": Path("/models/big")}
    for wrong in ("work/z", "a=", "=b", "a b=c", "a=b, a=c", "v2=b"):
        monkeypatch.setenv("AMIRA_RECOGNISERS", wrong)
        with pytest.raises(SettingsError, match="AMIRA_RECOGNISERS"):
            load_settings(tmp_path)


def test_a_recogniser_says_what_its_models_need(tmp_path, monkeypatch):
    repository = tmp_path / "zipformer"
    repository.mkdir()
    (repository / "config.toml").write_text("max_symbols_per_step = 1\n")
    (tmp_path / "config.toml").write_text('max_concurrent_streams = 9\nvocabulary_path = "of-the-default.txt"\n')
    monkeypatch.setenv("AMIRA_MAX_SYMBOLS_PER_STEP", "5")
    assert load_settings(tmp_path).max_symbols_per_step == 5
    own = load_recogniser_settings(tmp_path, repository)
    assert (own.max_symbols_per_step, own.max_concurrent_streams, own.vocabulary_path) == (1, 9, None)
    (repository / "config.toml").write_text("max_symbols = 1\n")
    with pytest.raises(SettingsError, match=r"zipformer/config\.toml: unknown setting"):
        load_recogniser_settings(tmp_path, repository)
