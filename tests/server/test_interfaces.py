"""Which of Triton's interfaces the launcher leaves open."""

from __future__ import annotations

from amira_asr.setting_values import INTERFACES
from scripts.serving.interfaces import ADMIN_HEADER, API_KEY_HEADER, Keys, restrictions

CLOSED = ["model-repository", "statistics", "shared-memory", "trace", "logging"]


def closed(*opened, api=None, tls=False):
    """What each argument closes, by its option and the header that opens it."""
    found = {}
    for argument in restrictions(frozenset(opened), Keys("secret", api), tls=tls):
        option, value = argument.removeprefix("--").split("=", 1)
        names, header = value.split(":")
        found[option.split("-")[0], header.split("=")[0]] = names.split(",")
    return found


def test_everything_that_clients_do_not_need_is_closed():
    assert closed() == {("http", ADMIN_HEADER): [*CLOSED, "inference"], ("grpc", ADMIN_HEADER): CLOSED}


def test_what_is_opened_is_open_and_models_are_not():
    models = ["model-repository"]
    assert closed(*INTERFACES) == {("http", ADMIN_HEADER): models, ("grpc", ADMIN_HEADER): models}


def test_with_an_api_key_nothing_but_health_is_open():
    found = closed("statistics", api="key")
    every = {"health", *CLOSED, "inference", "metadata", "model-config"}
    for protocol in ("http", "grpc"):
        assert every.difference(*(names for (kind, _), names in found.items() if kind == protocol)) == {"health"}
    assert "statistics" in found["grpc", API_KEY_HEADER]


def test_with_tls_http_has_nothing_but_health_and_never_asks_for_the_api_key():
    found = closed("statistics", api="key", tls=True)
    assert set(found["http", ADMIN_HEADER]) == {*CLOSED, "inference", "metadata", "model-config"}
    assert ("http", API_KEY_HEADER) not in found
